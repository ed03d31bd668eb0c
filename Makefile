# What can be done here. Each command does its own set-up on a fresh machine; README.md says more.
.PHONY: help demo simpsons data-lake db-to-db test sim chaos bench up down fmt lint image
help:  ; @sed -n 's/^\([a-z-]*\):.*[#]# /make \1\t/p' Makefile
demo:  ; @scripts/demo.sh $(ARGS)                               ## nothing running needed; make demo ARGS="--for 10s"
simpsons:  ; @scripts/simpsons.sh                            ## a web API into two databases: transforms/quotes/README.md
data-lake: ; @scripts/data-lake.sh                           ## 60,000 logs under a cap: transforms/log-data/README.md
db-to-db:  ; @scripts/db-to-db.sh                            ## rows of one database into another: transforms/users/README.md
test:  ; @scripts/test.sh                                       ## everything, on real services that it starts itself
sim:   ; @scripts/sim.sh                                        ## a million schedules of the delivery protocol; WASMILL_SIM_SEED=n prints one
chaos: ; @scripts/chaos.sh                                      ## kills everything while records flow, and checks; make chaos SEED=7 MINUTES=20
bench: ; @scripts/bench.sh                                      ## wasmill beside a native program, in turns; see bench/README.md
up:    ; @scripts/up.sh                                         ## Kafka, Postgres, a MongoDB server and a host with the module quotes
down:  ; @scripts/down.sh                                       ## ends what `make up` started
fmt:   ; @cargo fmt --all                                       ## formats all code
lint:  ; @scripts/lint.sh                                       ## formatting, clippy, shell scripts, licences and advisories
image: ; @scripts/image.sh                                      ## the container image
