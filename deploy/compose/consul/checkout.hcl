# Two instances of one service, each with a health check that Consul makes.
services {
  name    = "checkout"
  id      = "checkout-1"
  address = "checkout-1"
  port    = 8080
  meta    = { version = "1.0.0" }
  check   = { name = "http", http = "http://checkout-1:8080/healthz", interval = "1s", timeout = "1s" }
}
services {
  name    = "checkout"
  id      = "checkout-2"
  address = "checkout-2"
  port    = 8080
  meta    = { version = "1.0.0" }
  check   = { name = "http", http = "http://checkout-2:8080/healthz", interval = "1s", timeout = "1s" }
}
