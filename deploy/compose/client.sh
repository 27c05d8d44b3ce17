# Fetches one name for ever and says what answered.
while :; do
  echo "$(date +%T) $(timeout 3 wget -q -O - http://checkout.svc.mesh.internal:8080/ 2>&1)"
  sleep 2
done
