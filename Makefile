# SPDX-License-Identifier: Apache-2.0
#
# make up      install what is needed, build, start a cluster, deploy examples/hello
# make down    end it and leave nothing
# make test    everything that a change must pass
# make bench   figures beside their references
# make help    all targets
#
# A room is a folder of src/; each becomes one static library. The table below is the law of who may
# use whom: a room's tests link only with the rooms named here, and tools/check-rooms reads the
# includes. Adding a file needs no edit here. MODE=release|asan|tsan|fuzz picks a build folder.

ROOMS := base loop value schema net store client apiserver controllers scheduler runtime network \
	kubelet kubectl cluster sim

uses_base       :=
uses_loop       := base
uses_value      := base
uses_schema     := value base
uses_net        := loop base
uses_store      := loop base
uses_client     := schema value net loop base
uses_apiserver  := client store schema value net loop base
uses_controllers:= client schema value loop base net
uses_scheduler  := client schema value loop base net
uses_runtime    := net value loop base
uses_network    := client schema value net loop base
uses_kubelet    := runtime client schema value net loop base
uses_kubectl    := client schema value net loop base
uses_cluster    := kubelet network runtime scheduler controllers apiserver client store net schema value loop base
uses_sim        := kubelet scheduler controllers apiserver client store net schema value loop base

# Outside libraries a room needs; a program that links the room gets them too.
libs_base       := -lpthread -lm
libs_loop       := -luv
libs_value      := -lyaml
libs_schema     := -lpcre2-8
libs_net        := -lssl -lcrypto -lnghttp2 -lz
libs_store      := -llmdb
libs_runtime    := -lzstd -lz

MODE  ?= release
# V=1 shows whole commands
Q   := $(if $(V),,@)
say  = $(if $(V),,@printf '  %-4s %s\n' '$(1)' '$(2)')
OUT   := build/$(MODE)
CCACHE := $(shell command -v ccache 2>/dev/null)
CC     = $(CCACHE) gcc
WARN  := -Wall -Wextra -Wshadow -Wvla -Wundef -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wwrite-strings -Wno-unused-parameter -Wno-missing-field-initializers -Werror
CPPFLAGS := -D_GNU_SOURCE -Isrc -Ibuild/gen -include src/base/banned.h
CFLAGS_release := -O2 -g1 -ffunction-sections -fdata-sections -fno-plt
CFLAGS_asan    := -O1 -g -Wno-format-truncation -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
CFLAGS_tsan    := -O1 -g -Wno-format-truncation -fsanitize=thread
CFLAGS_fuzz    := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
ifeq ($(MODE),fuzz)
CC = $(CCACHE) clang
endif
CFLAGS  = -std=gnu17 $(WARN) $(CFLAGS_$(MODE)) -fvisibility=hidden
LDFLAGS_release := -Wl,--gc-sections -Wl,--as-needed
LDFLAGS_asan    := -fsanitize=address,undefined
LDFLAGS_tsan    := -fsanitize=thread
LDFLAGS_fuzz    := -fsanitize=address,undefined
LDFLAGS = $(LDFLAGS_$(MODE))

GEN := build/gen/names.h build/gen/names.c build/gen/tables.c build/gen/tables.h

room_src  = $(shell find src/$(1) -name '*.c' 2>/dev/null | LC_ALL=C sort) $(if $(filter value,$(1)),build/gen/names.c) $(if $(filter schema,$(1)),build/gen/tables.c) $(if $(filter runtime,$(1)),build/gen/runtime_programs.c)
room_obj  = $(patsubst %.c,$(OUT)/obj/%.o,$(call room_src,$(1)))
room_lib  = $(if $(strip $(call room_src,$(1))),$(OUT)/lib/lib$(1).a)
room_libs = $(foreach r,$(1) $(uses_$(1)),$(call room_lib,$(r)))
room_ld   = $(foreach r,$(1) $(uses_$(1)),$(libs_$(r))) -lpthread -lm

.PHONY: all
all: build/coracle

.DELETE_ON_ERROR:
.SECONDARY:

# ---- generated tables -------------------------------------------------------------------------
build/apigen: tools/apigen.c
	@mkdir -p $(@D)
	gcc -std=gnu17 -O1 -g -Wall -Wextra -Werror -o $@ $<

build/gen/.stamp: build/apigen $(wildcard api/*.api)
	@mkdir -p build/gen
	./build/apigen build/gen $(sort $(wildcard api/*.api))
	@touch $@
$(GEN): build/gen/.stamp ;

# ---- rooms ------------------------------------------------------------------------------------
$(OUT)/obj/%.o: %.c | build/gen/.stamp
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

define room_rule
$(OUT)/lib/lib$(1).a: $(call room_obj,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(Q)ar rcsD $$@ $$^
endef
$(foreach r,$(ROOMS),$(if $(strip $(call room_src,$(r))),$(eval $(call room_rule,$(r)))))

ALL_LIBS = $(foreach r,sim cluster kubectl kubelet network runtime scheduler controllers apiserver client store net schema value loop base,$(call room_lib,$(r)))
VERSION_FLAGS = -DCORACLE_VERSION='"$(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)"'

$(OUT)/coracle: $(OUT)/obj/src/main.o $(ALL_LIBS)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< -Wl,--start-group $(ALL_LIBS) -Wl,--end-group $(foreach r,$(ROOMS),$(libs_$(r)))

build/coracle: $(OUT)/coracle
	@cp -f $< $@.new && strip $@.new && mv -f $@.new $@

# ---- unit tests: tests/<room>/<name>_test.c links with the room and what it may use ------------
TEST_SRC := $(shell find tests -name '*_test.c' 2>/dev/null | LC_ALL=C sort)
TESTS    := $(patsubst %.c,$(OUT)/%,$(TEST_SRC))

define test_rule
$(OUT)/tests/$(1)/%_test: $(OUT)/obj/tests/$(1)/%_test.o $(call room_libs,$(1))
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(CFLAGS) $$(LDFLAGS) -o $$@ $$< -Wl,--start-group $(call room_libs,$(1)) -Wl,--end-group $(call room_ld,$(1)) -lcmocka
endef
$(foreach r,$(ROOMS),$(eval $(call test_rule,$(r))))

# make unit            all unit tests in this MODE;  make unit-value  one room's
.PHONY: unit
unit: $(TESTS)
	@tools/run-tests $^
unit-%:
	@$(MAKE) --no-print-directory $(filter $(OUT)/tests/$*/%,$(TESTS))
	@tools/run-tests $(filter $(OUT)/tests/$*/%,$(TESTS))

# ---- fuzz targets: fuzz/<room>_<name>.c; the corpus in fuzz/corpus/<room>_<name>/ is also a test ---
FUZZ_SRC := $(wildcard fuzz/*.c)
FUZZERS  := $(patsubst fuzz/%.c,$(OUT)/fuzz/%,$(FUZZ_SRC))
fuzz_room = $(firstword $(subst _, ,$(1)))
define fuzz_rule
$(OUT)/fuzz/$(1): $(OUT)/obj/fuzz/$(1).o $(if $(filter fuzz,$(MODE)),,$(OUT)/obj/tests/fuzz_main.o) $(call room_libs,$(call fuzz_room,$(1)))
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(CFLAGS) $$(LDFLAGS) $(if $(filter fuzz,$(MODE)),-fsanitize=fuzzer) -o $$@ $$(filter %.o,$$^) -Wl,--start-group $(call room_libs,$(call fuzz_room,$(1))) -Wl,--end-group $(call room_ld,$(call fuzz_room,$(1)))
endef
$(foreach f,$(FUZZ_SRC),$(eval $(call fuzz_rule,$(basename $(notdir $(f))))))

# make corpus: every corpus through its target;  make fuzz SECONDS=60 [TARGET=value_json]: libFuzzer
.PHONY: corpus fuzz
corpus: $(FUZZERS)
	@for f in $^; do $$f fuzz/corpus/$$(basename $$f) || exit 1; done
fuzz:
	@$(MAKE) --no-print-directory MODE=fuzz fuzz-run
.PHONY: fuzz-run
fuzz-run: $(if $(TARGET),$(OUT)/fuzz/$(TARGET),$(FUZZERS))
	@for f in $^; do mkdir -p build/corpus/$$(basename $$f); echo "== $$(basename $$f)"; \
	  $$f -max_total_time=$(or $(SECONDS),30) -timeout=10 -rss_limit_mb=2048 build/corpus/$$(basename $$f) fuzz/corpus/$$(basename $$f) || exit 1; done

.PHONY: clean
clean:
	rm -rf build

include $(wildcard tools/*.mk images/*.mk)
-include $(shell find $(OUT)/obj -name '*.d' 2>/dev/null)
