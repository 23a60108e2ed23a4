# Build of systemd/.
