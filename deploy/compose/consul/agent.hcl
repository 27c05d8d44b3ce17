# The one Consul server of a cluster.
server           = true
bootstrap_expect = 1
data_dir         = "/consul/data"
client_addr      = "0.0.0.0"
ports { dns = 8600 }
ui_config { enabled = true }
disable_update_check = true
recursors            = ["127.0.0.11"] # docker's resolver, for instances whose address is a container's name
