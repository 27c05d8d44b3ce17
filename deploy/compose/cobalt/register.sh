# Registers the two instances with Nacos as persistent ones: Nacos itself checks their health (TCP) and keeps them when
# it restarts. Ephemeral ones would need a program that sends a beat every five seconds.
for ip in 10.153.3.21 10.153.3.22; do
  until wget -q -O /dev/null --post-data "serviceName=checkout&ip=$ip&port=8080&ephemeral=false" \
    http://nacos:8848/nacos/v1/ns/instance 2>/dev/null; do
    sleep 1
  done
  echo "registered $ip"
done
