package transfer

import (
	"syscall"
	"testing"
)

// TestHolesStayHoles: zeros take no place on the disk, in a first attempt and in another, and where garbage was.
func TestHolesStayHoles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := append(append(noise(6, 4<<20), make([]byte, 40<<20)...), noise(7, 4<<20)...)
	a := w.artifact(raw)
	for name, left := range map[string][]byte{"nothing": nil, "a beginning": raw[:3<<20], "garbage": noise(8, len(raw))} {
		part := w.part()
		_, err := part.Write(left)
		check(t, err)
		w.assembled(w.job(a), part, raw)
		info, err := part.Stat()
		check(t, err)
		if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > 12<<20 {
			t.Errorf("over %s it takes %d bytes of the disk, 8 MiB are no zeros", name, used)
		}
	}
}
