# What the cluster tests' traffic is made of: docker build -f xtask/workloads.Dockerfile -t kyanos/workloads:12 xtask
FROM debian:12
RUN apt-get update \
 && apt-get install --yes --no-install-recommends curl nginx-light redis-server redis-tools mariadb-client \
 && rm -rf /var/lib/apt/lists/*
