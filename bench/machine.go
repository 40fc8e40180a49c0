package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

// hashRate returns the MiB/s of sha2-256 over blocks of 1 MiB in memory, on n
// goroutines together.
func hashRate(n int, long time.Duration) float64 { return hashRateOf(n, long, sha256.Sum256) }

func hashRateOf(n int, long time.Duration, hash func([]byte) [32]byte) float64 {
	var wg sync.WaitGroup
	counts := make([]int, n)
	start := time.Now()
	for i := range n {
		wg.Go(func() {
			block := make([]byte, mib)
			for time.Since(start) < long {
				sum := hash(block)
				copy(block, sum[:])
				counts[i]++
			}
		})
	}
	wg.Wait()
	total := 0
	for _, c := range counts {
		total += c
	}
	return float64(total) / time.Since(start).Seconds()
}

// machine describes where the numbers come from.
func machine() string {
	model := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	kernel := "?"
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = strings.TrimSpace(string(b))
	}
	memory := "?"
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		memory = fmt.Sprintf("%d GiB", statusBytes(b, "MemTotal:")/gib)
	}
	return fmt.Sprintf("%s, %d cores, %s, %s %s, Linux %s", model, cores(), memory, runtime.GOOS, runtime.GOARCH, kernel)
}
