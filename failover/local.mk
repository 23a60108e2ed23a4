# Build of failover/.
