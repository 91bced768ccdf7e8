# SPDX-License-Identifier: Apache-2.0
# A store and an API server alone, for tests/cluster/test_api.py.

$(OUT)/server_driver: $(OUT)/obj/tests/apiserver/server_driver.o $(call room_libs,apiserver)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< -Wl,--start-group $(call room_libs,apiserver) -Wl,--end-group $(call room_ld,apiserver)

.PHONY: test-api
test-api: $(OUT)/server_driver
	SERVER_DRIVER=$(abspath $<) CLUSTER_TESTS=tests/cluster/test_api.py tools/test-cluster
