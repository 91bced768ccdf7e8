# SPDX-License-Identifier: Apache-2.0
#
# make test-network   nodes, pods and Services with real traffic in network namespaces of their own (root), also under sanitizers

.PHONY: test-network
test-network: unit-network
	@$(MAKE) --no-print-directory MODE=asan unit-network
