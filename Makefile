# make demo  builds and runs the main job: no server, no network, no download
# make dist  builds the executable for production: up to a quarter more jobs a second, nearly twice the processor time to build
# make cuda  builds the executable that can also compute on an NVIDIA card; needs no CUDA itself
# make test  installs what the tests need, then runs everything
.PHONY: demo build dist cuda test check fmt lint docs deny test-deps bench clean

demo: build
	./scripts/run-built demo --out out

build:
	cargo build --release --locked -p bul

dist:
	cargo build --profile dist --locked -p bul

cuda:
	cargo build --release --locked -p bul --features cuda

test: test-deps
	./scripts/test

check: fmt lint docs deny test

fmt:
	cargo fmt --all --check

lint:
	cargo clippy --release --locked --workspace --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --workspace --no-deps

deny:
	./scripts/deny

test-deps:
	./scripts/test-deps

# The pipeline beside other job queues, on the same servers in one run.
bench: dist
	./bench/pipeline

clean:
	cargo clean
	rm -rf out
