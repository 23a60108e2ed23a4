# Build of ctl/.
