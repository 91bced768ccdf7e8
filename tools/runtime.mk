# SPDX-License-Identifier: Apache-2.0
#
# make test-runtime   real containers, images and a registry on this machine, through a small driver (root)

RUNTIME_DRIVER := $(OUT)/tests/runtime/cri_driver
$(RUNTIME_DRIVER): $(OUT)/obj/tests/runtime/cri_driver.o $(call room_libs,runtime)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< -Wl,--start-group $(call room_libs,runtime) -Wl,--end-group $(call room_ld,runtime)

.PHONY: test-runtime
test-runtime: images images-oci $(RUNTIME_DRIVER)
	@CRI_DRIVER=$(abspath $(RUNTIME_DRIVER)) python3 tests/runtime/runtime_test.py

# make test-vm        the same on Debian's kernel with pure cgroup v2, in an emulated machine; not part of `make test`
.PHONY: test-vm
test-vm: images images-oci $(RUNTIME_DRIVER)
	@CRI_DRIVER=$(abspath $(RUNTIME_DRIVER)) tests/vm/run
	@CRI_DRIVER=$(abspath $(RUNTIME_DRIVER)) NESTED=1 tests/vm/run Life_crun Config_crun
