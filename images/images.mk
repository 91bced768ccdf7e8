# SPDX-License-Identifier: Apache-2.0
#
# make images         every image of this tree as build/images/<name>.tar (`docker save` archives)
# make images-oci     pause and busybox once more as OCI layouts, plain and gzipped
# make test-images    run the programs on loopback and check the archives
#
# Nothing is pulled: the programs are ours, linked statically with musl, and busybox is Debian's
# busybox-static package. A reference of an image is spelled whole, so that it never means a hub's.

# Names and tags. A conformance run wants its own: make images IMG_REPO=my.registry:5000/e2e ...
IMG_REPO         ?= coracle.local
IMG_BUSYBOX_TAG  ?= 1.36
IMG_AGNHOST_TAG  ?= 2.53
IMG_DEMO_TAG     ?= 1.7
IMG_DNSUTILS_TAG ?= 1.7
IMG_HELLO_TAGS   ?= v1 v2
IMG_HTTPD_TAGS   ?= 2.4.38-4 2.4.39-4
IMG_NGINX_TAGS   ?= 1.14-4 1.15-4

IMG     := build/images
IMG_CC  := $(CCACHE) musl-gcc
IMG_CFLAGS := -std=gnu17 -D_GNU_SOURCE -include src/base/banned.h -Os $(WARN) -ffunction-sections -fdata-sections \
	-fno-asynchronous-unwind-tables
IMG_LDFLAGS := -static -s -Wl,--gc-sections -Wl,--build-id=none -Wl,-z,norelro -Wl,-z,noseparate-code

# The test server is built twice: small, with musl, for images that serve plain HTTP; and with TLS
# for agnhost, with glibc, since Debian's static OpenSSL is made for that.
IMG_SERVER_SRC := $(sort $(filter-out %/tls.c %/tls_none.c,$(wildcard images/testserver/*.c)))
IMG_SERVER_OBJ := $(IMG_SERVER_SRC:images/%.c=$(IMG)/obj/%.o) $(IMG)/obj/testserver/tls_none.o
IMG_TLS_OBJ    := $(IMG_SERVER_SRC:images/%.c=$(IMG)/obj-tls/%.o) $(IMG)/obj-tls/testserver/tls.o
IMG_TLS_CC     := $(CCACHE) gcc

IMG_TARS := $(IMG)/pause.tar $(IMG)/busybox.tar $(IMG)/agnhost.tar $(IMG)/nonewprivs.tar \
	$(IMG)/kitten.tar $(IMG)/nautilus.tar $(IMG)/jessie-dnsutils.tar $(IMG_HELLO_TAGS:%=$(IMG)/hello-%.tar) \
	$(IMG_HTTPD_TAGS:%=$(IMG)/httpd-%.tar) $(IMG_NGINX_TAGS:%=$(IMG)/nginx-%.tar)

.PHONY: images images-oci test-images
images: $(IMG_TARS)
images-oci: $(IMG)/oci/pause.tar $(IMG)/oci/pause-gzip.tar $(IMG)/oci/busybox.tar $(IMG)/oci/busybox-gzip.tar

# ---- programs ---------------------------------------------------------------------------------
$(IMG)/obj/%.o: images/%.c
	@mkdir -p $(@D)
	$(IMG_CC) $(IMG_CFLAGS) -MMD -MP -c -o $@ $<

$(IMG)/obj-tls/%.o: images/%.c
	@mkdir -p $(@D)
	$(IMG_TLS_CC) $(IMG_CFLAGS) -MMD -MP -c -o $@ $<

# The linker warns that looking up names in a static program needs glibc's own files; it has them built in.
$(IMG)/bin/testserver-tls: $(IMG_TLS_OBJ)
	@mkdir -p $(@D)
	gcc $(IMG_LDFLAGS) -o $@ $^ -lssl -lcrypto -lpthread 2>$@.log || { cat $@.log >&2; exit 1; }

$(IMG)/bin/testserver: $(IMG_SERVER_OBJ)
	@mkdir -p $(@D)
	musl-gcc $(IMG_LDFLAGS) -o $@ $^

$(IMG)/bin/pause: $(IMG)/obj/pause/pause.o
	@mkdir -p $(@D)
	musl-gcc $(IMG_LDFLAGS) -o $@ $^

$(IMG)/bin/crun-hybrid: $(IMG)/obj/crun-hybrid/crun_hybrid.o
	@mkdir -p $(@D)
	musl-gcc $(IMG_LDFLAGS) -o $@ $^

$(IMG)/bin/nonewprivs: $(IMG)/obj/nonewprivs/nonewprivs.o
	@mkdir -p $(@D)
	musl-gcc $(IMG_LDFLAGS) -o $@ $^

# The installed busybox where it is the static one; else the package is unpacked here, not installed.
$(IMG)/bin/busybox: images/get-busybox
	@mkdir -p $(@D)
	images/get-busybox $@

# ---- images -----------------------------------------------------------------------------------
IMG_PACK = @echo "image $@"; images/pack -D REPO=$(IMG_REPO)
$(IMG_TARS) $(IMG)/oci/pause.tar $(IMG)/oci/pause-gzip.tar $(IMG)/oci/busybox.tar $(IMG)/oci/busybox-gzip.tar: images/pack

$(IMG)/pause.tar: images/pause/pause.image $(IMG)/bin/pause
	$(IMG_PACK) $< $@

$(IMG)/busybox.tar: images/busybox.image images/busybox.layer $(IMG)/bin/busybox
	$(IMG_PACK) -D TAG=$(IMG_BUSYBOX_TAG) $< $@

$(IMG)/agnhost.tar: images/agnhost.image images/busybox.layer $(IMG)/bin/busybox $(IMG)/bin/testserver-tls
	$(IMG_PACK) -D TAG=$(IMG_AGNHOST_TAG) $< $@

$(IMG)/nonewprivs.tar: images/nonewprivs/nonewprivs.image $(IMG)/bin/nonewprivs
	$(IMG_PACK) $< $@

$(IMG)/hello-%.tar: images/hello.image $(IMG)/bin/testserver
	$(IMG_PACK) -D VERSION=$* $< $@

$(IMG)/httpd-%.tar: images/webserver/httpd.image images/busybox.layer $(IMG)/bin/busybox $(IMG)/bin/testserver
	$(IMG_PACK) -D TAG=$* $< $@

$(IMG)/nginx-%.tar: images/webserver/nginx.image images/busybox.layer $(IMG)/bin/busybox $(IMG)/bin/testserver
	$(IMG_PACK) -D TAG=$* $< $@

$(IMG)/kitten.tar $(IMG)/nautilus.tar: images/demo.image $(IMG)/bin/testserver
	$(IMG_PACK) -D NAME=$(basename $(@F)) -D TAG=$(IMG_DEMO_TAG) $< $@

$(IMG)/jessie-dnsutils.tar: images/dnsutils.image images/busybox.layer $(IMG)/bin/busybox $(IMG)/bin/testserver
	$(IMG_PACK) -D TAG=$(IMG_DNSUTILS_TAG) $< $@

$(IMG)/oci/pause.tar: images/pause/pause.image $(IMG)/bin/pause
	$(IMG_PACK) --oci $< $@
$(IMG)/oci/pause-gzip.tar: images/pause/pause.image $(IMG)/bin/pause
	$(IMG_PACK) --oci --gzip $< $@
$(IMG)/oci/busybox.tar: images/busybox.image images/busybox.layer $(IMG)/bin/busybox
	$(IMG_PACK) --oci -D TAG=$(IMG_BUSYBOX_TAG) $< $@
$(IMG)/oci/busybox-gzip.tar: images/busybox.image images/busybox.layer $(IMG)/bin/busybox
	$(IMG_PACK) --oci --gzip -D TAG=$(IMG_BUSYBOX_TAG) $< $@

# Two small static programs that the runtime starts: the holder of a pod's namespaces, and what hides
# a leftover cgroup hierarchy from crun.
build/gen/runtime_programs.c: $(IMG)/bin/pause $(IMG)/bin/crun-hybrid
	@mkdir -p $(@D)
	@{ echo '/* Made from $^. */'; echo '#include "runtime/programs.h"'; \
	  for p in pause crun-hybrid; do n=$$(echo "$$p" | tr - _); \
	    echo "const unsigned char program_$$n[] = {"; od -An -v -tu1 "$(IMG)/bin/$$p" | sed 's/  */,/g;s/^,//;s/$$/,/'; echo '};'; \
	    echo "const size_t program_$${n}_len = sizeof(program_$$n);"; done; } >$@.new
	@mv -f $@.new $@



# Unit tests of what computes without I/O; `make unit-images` runs them, in any MODE.
IMG_UNIT_OBJ := $(patsubst %,$(OUT)/obj/images/testserver/%.o,base json http_parse hpack h2 dns)
$(OUT)/tests/images/%_test: $(OUT)/obj/tests/images/%_test.o $(IMG_UNIT_OBJ)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka -lnghttp2 -lpthread

test-images: images images-oci $(IMG)/bin/testserver-tls
	@python3 tests/images/images_test.py

-include $(shell find $(IMG)/obj $(IMG)/obj-tls -name '*.d' 2>/dev/null)
