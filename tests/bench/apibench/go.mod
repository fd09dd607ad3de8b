module unikubelet.dev/tests/bench/apibench

go 1.26.0
