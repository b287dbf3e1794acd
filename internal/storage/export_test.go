package storage

// PartCount is the number of parts of an object of this size.
func PartCount(p Parts, size int64) int64 { each := p.each(size); return (size + each - 1) / each }
