# The Debian packages that Tandem needs, in one place: for examples/demo, tests/run and .ci/run.
# To be sourced by bash. Installs only what is missing, and nothing at all when all is there.
# shellcheck shell=bash disable=SC2034 # the lists are for who sources this

# A C compiler, the build tools and the libraries.
PACKAGES_BUILD=(gcc make autoconf automake pkg-config libc6-dev libev-dev libssl-dev libjansson-dev
	libyaml-dev libcurl4-openssl-dev libnftables-dev libnl-3-dev libnl-route-3-dev libcap-dev libsystemd-dev
	libnghttp2-dev libc-ares-dev libpcre2-dev libmaxminddb-dev)
# What the namespaces of the demo and of the tests are made of.
PACKAGES_LAB=(python3 iproute2 util-linux procps nginx curl)
PACKAGES_TEST=(libcunit1-dev strace nftables keepalived tshark spin openssl nghttp2-client nghttp2-server python3-grpcio python3-h2
	postgresql)
# What the benchmarks compare with and measure by; they leave out what is missing.
PACKAGES_BENCH=(nginx libnginx-mod-stream haproxy keepalived wrk nghttp2-client valgrind strace)
# What only keeps the code in shape.
PACKAGES_SHAPE=(clang libclang-rt-14-dev clang-format clang-tidy cppcheck shellcheck xz-utils git)

# How many tests to run at a time: most of them wait, for each other's ends of a connection or for a time to pass.
TEST_JOBS=$(($(nproc) + 4))

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

# packages_missing PACKAGE...: those that are not installed, one a line.
packages_missing() {
	local package
	for package; do
		# shellcheck disable=SC2016 # the dollar belongs to dpkg-query
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
	done
}

# packages_install PACKAGE...: with apt, three tries; no service is started by it (nginx would take port 80).
packages_install() {
	local missing try
	mapfile -t missing < <(packages_missing "$@")
	[ ${#missing[@]} = 0 ] && return 0
	if ! command -v apt-get >/dev/null; then
		echo "These Debian packages, or what your system calls them, are missing: ${missing[*]}" >&2
		return 1
	fi
	echo "Installing: ${missing[*]}"
	for try in 1 2 3; do
		# shellcheck disable=SC2016 # the inner shell expands
		as_root env DEBIAN_FRONTEND=noninteractive sh -c '
			policy=/usr/sbin/policy-rc.d
			if [ ! -e $policy ]; then
				trap "rm -f $policy" EXIT
				printf "#!/bin/sh\nexit 101\n" >$policy
				chmod 755 $policy
			fi
			apt-get -qq update
			apt-get -qq -y --no-install-recommends install "$@"' sh "${missing[@]}" </dev/null >&2 && break
		[ "$try" = 3 ] && return 1
		sleep $((5 * try))
	done
	local service
	for service in nginx keepalived haproxy postgresql; do # came as tools, not as services
		case " ${missing[*]} " in
		*" $service "*)
			if command -v systemctl >/dev/null; then
				as_root systemctl --quiet disable $service >/dev/null 2>&1 || true
			fi
			;;
		esac
	done
}

# configure_in DIR ARGUMENT...: makes configure where it is missing, and configures DIR unless that was done;
# from then on make itself notices what changed.
configure_in() {
	local dir=$1 top
	shift
	top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
	if [ ! -e "$top/configure" ] || [ ! -e "$top/Makefile.in" ]; then
		(cd "$top" && autoreconf -fi) || return
	fi
	mkdir -p "$dir"
	[ -e "$dir/config.status" ] || (cd "$dir" && "$top/configure" -q "$@")
}

# check_in DIR TARGET: runs the tests. What has to do with real time can fail because the machine stood still: what
# failed gets a second try, one at a time, unless a sanitizer or an assertion spoke, or it died. Until then it is no
# FAIL line; a test that fails twice is one, and one that does not is called flaky, with the end of its first log.
check_in() (
	dir=$1 first='s,^(FAIL|ERROR): (tests/),failed at first: \2,; s/^# (FAIL|ERROR): +([1-9])/# failed at first: \2/'
	set -o pipefail
	make -C "$dir" -j"$TEST_JOBS" -k "$2" 2>&1 | sed -uE "$first" && return
	mapfile -t bad < <(find "$dir/tests" -name '*.trs' -exec grep -lxE ':test-result: (FAIL|ERROR)' {} +)
	[ ${#bad[@]} -gt 0 ] || return 1
	if grep -lE 'Sanitizer|runtime error:|assertion failed:|exit status: 1(29|3[0-9])' "${bad[@]/%.trs/.log}"; then
		printf 'FAIL: %s\n' "${bad[@]%.trs}"
		return 1
	fi
	echo "== $dir: a second try for ${bad[*]%.trs}"
	for test in "${bad[@]%.trs}"; do
		cp "$test.log" "$test.first"
	done
	make -C "$dir" recheck
	good=$?
	for test in "${bad[@]%.trs}"; do
		grep -qx ':test-result: PASS' "$test.trs" || continue
		echo "flaky: $test failed once and passed on its second try; its first log ends so:"
		tail -n 60 "$test.first" | sed "s,^,    | ,"
	done
	return $good
)
