command -v docker >/dev/null ||
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends docker-cli; }
<% if dind %>
# The service needs a moment.
timeout 60 sh -c 'until docker info >/dev/null 2>&1; do sleep 1; done'
<% endif %>
