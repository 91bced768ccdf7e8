# SPDX-License-Identifier: Apache-2.0
# The two commands of the README, and what they stand on.

PACKAGES := gcc make libc6-dev git ccache libuv1-dev libssl-dev libnghttp2-dev zlib1g-dev liblmdb-dev libyaml-dev libpcre2-dev \
	libarchive-dev libzstd-dev musl-tools busybox-static crun runc conmon nftables iproute2 util-linux
TEST_PACKAGES := libcmocka-dev python3 python3-pytest python3-yaml python3-kubernetes openssl skopeo docker-registry clang libclang-rt-14-dev curl jq

# Installs what is missing; quick when nothing is.
.PHONY: deps test-deps
deps:
	@tools/install $(PACKAGES)
test-deps:
	@tools/install $(PACKAGES) $(TEST_PACKAGES)

# make up [NODES=3]
.PHONY: up down
up: deps
	@$(MAKE) --no-print-directory -j$$(nproc) build/coracle build/images/hello-v1.tar build/images/hello-v2.tar
	@tools/up $(NODES)
down:
	@if [ -x build/coracle ]; then build/coracle down $(if $(PURGE),--purge); else echo "nothing was built here, so nothing runs from here"; fi

# Everything that a change must pass.
.PHONY: test test-unit test-cluster
test: test-deps
	@tools/test
