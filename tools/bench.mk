# SPDX-License-Identifier: Apache-2.0
# Benchmarks: bench/<room>_bench.c links with its room and what that may use, as a test does.

BENCH_SRC := $(wildcard bench/*_bench.c)
BENCHES   := $(patsubst bench/%.c,$(OUT)/bench/%,$(BENCH_SRC))

define bench_rule
$(OUT)/bench/$(1)_bench: $(OUT)/obj/bench/$(1)_bench.o $(call room_libs,$(1))
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS) $$(LDFLAGS) -o $$@ $$< -Wl,--start-group $(call room_libs,$(1)) -Wl,--end-group $(call room_ld,$(1))
endef
$(foreach b,$(patsubst bench/%_bench.c,%,$(BENCH_SRC)),$(eval $(call bench_rule,$(b))))

# make bench   all figures beside their references;  make bench-value  one room's
.PHONY: bench
bench: $(BENCHES)
	@for b in $^; do echo "== $$(basename $$b)"; $$b || exit 1; done
bench-%:
	@$(MAKE) --no-print-directory $(OUT)/bench/$*_bench
	@$(OUT)/bench/$*_bench
