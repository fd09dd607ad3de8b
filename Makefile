# unikubelet: one Makefile, out-of-tree in build/, no configure step. `make help` lists the targets.
VERSION ?= 0.1.0
BUILD   ?= build
CC      ?= gcc
PKGS    := libuv libcurl libcjson openssl yaml-0.1 libarchive zlib

WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 \
        -Wconversion -Wno-sign-conversion -Wno-error=deprecated-declarations
HARD := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
# Hidden: our names must never stand in for a library's own (libyaml exports yaml_free).
BASE_CFLAGS := -std=gnu17 -D_GNU_SOURCE -fvisibility=hidden -I. $(WARN) -MMD -MP \
               -DUNIKUBELET_VERSION='"$(VERSION)"' $(shell pkg-config --cflags $(PKGS))
CFLAGS  ?= -O2 -g
LDFLAGS ?= -Wl,-z,relro,-z,now,--as-needed -pie
LIBS    := $(shell pkg-config --libs $(PKGS)) -lpthread
Q       := $(if $(V),,@)
SAN     := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -O1 -g

LIB_SRC  := $(wildcard base/*.c vmm-bridge/*.c runtime/*.c provider/core/*.c k8s/*.c) \
            $(filter-out provider/main.c,$(wildcard provider/*.c))
SHIM_SRC := $(wildcard runtime/shim/*.c)
HOST_SRC := $(wildcard runtime/host/*.c)
FAKE_SRC := $(wildcard vmm-bridge/fakevmm/*.c)
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/o/%.o)
SAN_OBJ  := $(LIB_SRC:%.c=$(BUILD)/san/%.o)
UNIT     := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/test_*.c))
FUZZ     := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
SIM_SRC  := $(wildcard tests/sim/*.c)
SCALER_SRC := $(filter-out provider/scaler/main.c,$(wildcard provider/scaler/*.c))
# Of the agent's it takes the configuration's engine alone.
SCALER_OBJ := $(patsubst %.c,$(BUILD)/o/%.o,$(wildcard base/*.c provider/core/*.c k8s/*.c) \
              provider/config_table.c provider/config_shape.c vmm-bridge/vmm.c $(SCALER_SRC))
SAN_OBJ    += $(SCALER_SRC:%.c=$(BUILD)/san/%.o)

PROGRAMS := $(BUILD)/unikubelet $(BUILD)/unikubelet-shim $(BUILD)/unikubelet-fakevmm \
            $(BUILD)/unikubelet-host

.SECONDARY:
.PHONY: all help deps demo test check unit sim fuzz-check fuzz e2e soak bench lint format cluster guests install clean
PROGRAMS += $(BUILD)/unikubelet-scaler
all: $(PROGRAMS)

help:
	@sed -n 's/^## //p' Makefile

## all         build the agent, its helpers and the fake VMM into build/
## deps        install what is missing (Debian packages)
deps:
	@tests/deps.sh

$(BUILD)/o/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC   $<"
	$(Q)$(CC) $(BASE_CFLAGS) $(HARD) $(CFLAGS) -c $< -o $@

$(BUILD)/san/%.o: %.c
	@mkdir -p $(@D)
	@echo "  SAN  $<"
	$(Q)$(CC) $(BASE_CFLAGS) $(SAN) -c $< -o $@

$(BUILD)/unikubelet: $(BUILD)/o/provider/main.o $(LIB_OBJ)
	$(Q)$(CC) $(CFLAGS) $^ $(LDFLAGS) $(LIBS) -o $@

# The shim and the fake VMM stay alone on the host for as long as a guest lives: static and small.
$(BUILD)/unikubelet-shim: $(SHIM_SRC) $(wildcard runtime/shim/*.h) runtime/shim_proto.h vmm-bridge/vmm.h
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE_CFLAGS) -Os -g -static -ffunction-sections -Wl,--gc-sections $(SHIM_SRC) -o $@

# The container's first process, and the start of programs that bring their libraries: static.
$(BUILD)/unikubelet-host: $(HOST_SRC) $(wildcard runtime/host/*.h)
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE_CFLAGS) -Os -g -static -ffunction-sections -Wl,--gc-sections $(HOST_SRC) -o $@

$(BUILD)/unikubelet-fakevmm: $(FAKE_SRC)
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE_CFLAGS) -Os -g -static -ffunction-sections -Wl,--gc-sections $(FAKE_SRC) -o $@

$(BUILD)/unikubelet-scaler: $(BUILD)/o/provider/scaler/main.o $(SCALER_OBJ)
	$(Q)$(CC) $(CFLAGS) $^ $(LDFLAGS) $(LIBS) -o $@

# One archive, so that each test program takes only what it needs.
$(BUILD)/libsan.a: $(SAN_OBJ)
	@rm -f $@ && ar rcs $@ $^

$(BUILD)/unit/%: $(BUILD)/san/tests/unit/%.o $(BUILD)/libsan.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(SAN) $^ $(LIBS) -lcmocka -o $@

$(BUILD)/fuzz/%: $(BUILD)/san/tests/fuzz/%.o $(BUILD)/san/tests/fuzz/main.o $(BUILD)/libsan.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(SAN) $^ $(LIBS) -o $@

$(BUILD)/sim: $(SIM_SRC:%.c=$(BUILD)/san/%.o) $(BUILD)/libsan.a
	$(Q)$(CC) $(SAN) $^ $(LIBS) -o $@

## demo        everything from nothing: install, build, local cluster, a Pod that runs
demo: deps
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@tests/demo.py

## test        check, lint and the end-to-end tests on a real control plane
test: deps
	@tests/test.sh

## check       unit tests, simulation and fuzz corpora, under ASan and UBSan
check: unit sim fuzz-check
unit: $(UNIT) $(PROGRAMS)
	@tests/run-units.sh $(UNIT)
sim: $(BUILD)/sim
	@$(BUILD)/sim --seeds $${SEEDS:-2000}
fuzz-check: $(FUZZ)
	@tests/run-fuzz.sh $(FUZZ)

## fuzz        F=name: coverage-guided fuzzing with clang for SECONDS (60)
fuzz:
	@tests/fuzz/run $(F)

## e2e         K=word: end-to-end tests whose names have the word
e2e: all
	@cd tests/e2e && python3 -m pytest -q -x $(if $(K),-k '$(K)')

## soak        MINUTES=60: streams come and go for so long; the agent's memory must stay flat
soak: all
	@cd tests/e2e && SOAK_MINUTES=$(or $(MINUTES),60) python3 -m pytest -q -s -k soak

## bench       measure against peers in the same run; README's table and build/bench.json
bench: all
	@tests/bench/bench.py $(ROWS)

## lint        arrows between folders, lengths, banned functions, format, warnings
lint:
	@tests/lint/run.sh

## format      let clang-format have its way
format:
	@git ls-files '*.c' '*.h' | grep -v '^tests/guests' | xargs clang-format -i

## cluster     build the local control plane's binary
cluster:
	@tests/cluster/build

## guests      build the test guests and pack them as images
guests:
	@tests/guests/pack $(BUILD)/images

## install     PREFIX (/usr/local): agent, shim, scaler
PREFIX ?= /usr/local
install: all
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/bin $(BUILD)/unikubelet \
		$(BUILD)/unikubelet-shim $(BUILD)/unikubelet-scaler

## clean       remove build/
clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
