package car

import (
	"encoding/binary"
	"fmt"
	"math"
)

const (
	// pragma opens every CARv2: it reads as the header of a CAR of version 2.
	pragma = "\x0a" + cborMap1 + cborVersion + "\x02"
	// headerSize is the length of the CARv2 header after the pragma, in bytes.
	headerSize = 40
	// dataMin is the first byte of a CARv2 that is neither pragma nor header.
	dataMin = int64(len(pragma)) + headerSize
)

// window says where the parts of a CARv2 are, in bytes from the start of the file.
type window struct {
	data, end int64 // the CARv1 inside, end exclusive
	index     int64 // 0 if there is none
}

// decodeWindow reads the 40 bytes after the pragma: 16 bytes of characteristics,
// then data offset, data size and index offset, little-endian.
func decodeWindow(b []byte) (window, error) {
	data := binary.LittleEndian.Uint64(b[16:])
	size := binary.LittleEndian.Uint64(b[24:])
	index := binary.LittleEndian.Uint64(b[32:])
	switch {
	case data == 0 && size == 0:
		return window{}, fmt.Errorf("%w: this CARv2 was never finished by its writer", ErrMalformed)
	case data < uint64(dataMin) || data > math.MaxInt64:
		return window{}, fmt.Errorf("%w: data offset %d", ErrMalformed, data)
	case size == 0 || size > math.MaxInt64-data:
		return window{}, fmt.Errorf("%w: data size %d", ErrMalformed, size)
	case index != 0 && (index < data+size || index > math.MaxInt64):
		return window{}, fmt.Errorf("%w: index offset %d", ErrMalformed, index)
	}
	return window{data: int64(data), end: int64(data + size), index: int64(index)}, nil
}
