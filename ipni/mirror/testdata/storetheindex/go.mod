module example.com/mirrorgen

go 1.26.0

require (
	github.com/ipni/go-libipni v0.7.8
	github.com/ipni/storetheindex v0.12.1
)
