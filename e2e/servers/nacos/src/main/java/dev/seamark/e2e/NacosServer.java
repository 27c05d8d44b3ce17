package dev.seamark.e2e;

import com.alibaba.nacos.core.code.ControllerMethodsCache;
import com.alibaba.nacos.sys.filter.NacosTypeExcludeFilter;
import java.nio.file.Path;
import java.sql.DriverManager;
import java.sql.SQLException;
import javax.annotation.PostConstruct;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.SpringBootConfiguration;
import org.springframework.boot.autoconfigure.AutoConfigurationExcludeFilter;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.context.TypeExcludeFilter;
import org.springframework.boot.web.servlet.ServletComponentScan;
import org.springframework.context.annotation.ComponentScan;
import org.springframework.context.annotation.ComponentScan.Filter;
import org.springframework.context.annotation.FilterType;

/**
 * Starts the naming half of a Nacos server.
 *
 * <p>Nacos keeps its main class in its console module, which is not published. This one does what that one does: it scans
 * Nacos's packages with Nacos's own filter, which leaves out what the function mode does not ask for, and tells the
 * controller cache which controllers there are, without which every HTTP request is answered 501.
 */
@SpringBootConfiguration
@EnableAutoConfiguration
@ComponentScan(
    basePackages = "com.alibaba.nacos",
    excludeFilters = {
      @Filter(type = FilterType.CUSTOM, classes = NacosTypeExcludeFilter.class),
      @Filter(type = FilterType.CUSTOM, classes = TypeExcludeFilter.class),
      @Filter(type = FilterType.CUSTOM, classes = AutoConfigurationExcludeFilter.class)
    })
@ServletComponentScan("com.alibaba.nacos")
public class NacosServer {

  private final ControllerMethodsCache controllers;

  NacosServer(ControllerMethodsCache controllers) {
    this.controllers = controllers;
  }

  @PostConstruct
  void registerControllers() {
    controllers.initClassMethod("com.alibaba.nacos.core.controller");
    controllers.initClassMethod("com.alibaba.nacos.naming.controllers");
  }

  /**
   * Opens Nacos's embedded database as Nacos will, creating it if need be. Nacos gives that ten seconds and then gives up,
   * which is too short on a busy machine; here it takes what it takes, and Nacos finds the database open.
   */
  private static void openDatabase() throws SQLException {
    Path database = Path.of(System.getProperty("nacos.home"), "data", "derby-data");
    DriverManager.getConnection("jdbc:derby:" + database + ";create=true", "nacos", "nacos").close();
  }

  public static void main(String[] arguments) throws SQLException {
    openDatabase();
    SpringApplication.run(NacosServer.class, arguments);
  }
}
