package storage

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"io"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"
)

// Limits on what is looked at for an upload to go on with: a key that has more unfinished ones is sent anew.
const (
	maxUploads   = 8
	maxListPages = 100 // of parts or of uploads, a thousand each
)

// resume finds an unfinished upload of this key whose every part is one of this body's, and which has at least one.
// Nothing that the server says is taken for granted: each part that it lists is compared by the SHA-256, or else the
// MD5, of the bytes that would be sent. Another body's upload is left alone, for whoever is busy with it. A server
// that does not let these credentials look (s3:ListBucketMultipartUploads, s3:ListMultipartUploadParts) has none.
func (p *partUpload) resume(ctx context.Context) (bool, error) {
	var best *partUpload
	for _, id := range p.unfinished(ctx) {
		have, sums, err := p.equalParts(ctx, p.listParts(ctx, id))
		if err != nil {
			return false, err
		}
		if len(have) > 0 && (best == nil || len(have) > len(best.have)) {
			best = &partUpload{id: id, have: have, sums: sums}
		}
	}
	if ctx.Err() != nil {
		return false, p.fail(ctx, "create", p.of.key, ctx.Err())
	}
	if best == nil {
		return false, nil
	}
	p.id, p.have, p.sums = best.id, best.have, best.sums
	return true, nil
}

// unfinished gives the newest uploads of this key.
func (p *partUpload) unfinished(parent context.Context) []string {
	ctx, w := watched(parent, p.timeout)
	defer w.end()
	var found []minio.ObjectMultipartInfo
	keyMarker, idMarker := "", ""
	for range maxListPages {
		w.resume()
		page, err := p.reads.ListMultipartUploads(ctx, p.bucket, p.prefix+p.of.key, keyMarker, idMarker, "", 0)
		if err != nil {
			break
		}
		for _, u := range page.Uploads {
			if u.Key == p.prefix+p.of.key && u.UploadID != "" {
				found = append(found, u)
			}
		}
		if !page.IsTruncated || page.NextKeyMarker == "" || page.NextKeyMarker > p.prefix+p.of.key {
			break
		}
		keyMarker, idMarker = page.NextKeyMarker, page.NextUploadIDMarker
	}
	slices.SortFunc(found, func(a, b minio.ObjectMultipartInfo) int { return b.Initiated.Compare(a.Initiated) })
	var ids []string
	for _, u := range found[:min(len(found), maxUploads)] {
		ids = append(ids, u.UploadID)
	}
	return ids
}

// listParts gives the parts of an upload, or none.
func (p *partUpload) listParts(parent context.Context, id string) []minio.ObjectPart {
	ctx, w := watched(parent, p.timeout)
	defer w.end()
	var parts []minio.ObjectPart
	marker := 0
	for range maxListPages {
		w.resume()
		page, err := p.reads.ListObjectParts(ctx, p.bucket, p.prefix+p.of.key, id, marker, 0)
		if err != nil {
			return nil
		}
		parts = append(parts, page.ObjectParts...)
		if !page.IsTruncated || page.NextPartNumberMarker <= marker {
			break
		}
		marker = page.NextPartNumberMarker
	}
	return parts
}

// equalParts compares parts with the body: all of them are its, or none counts. sums tells whether the server keeps
// checksums.
func (p *partUpload) equalParts(ctx context.Context, listed []minio.ObjectPart) (have map[int]minio.CompletePart, sums bool, err error) {
	for _, part := range listed { // sizes first: that costs nothing
		if part.PartNumber < 1 || part.PartNumber > p.count() {
			return nil, false, nil
		}
		if _, size := p.part(ctx, part.PartNumber); size != part.Size {
			return nil, false, nil
		}
	}
	have, sums = map[int]minio.CompletePart{}, true
	for _, part := range listed {
		same, err := p.samePart(ctx, part)
		if err != nil || !same {
			return nil, false, err
		}
		have[part.PartNumber] = completed(part)
		sums = sums && part.ChecksumSHA256 != ""
	}
	return have, sums, nil
}

func (p *partUpload) samePart(ctx context.Context, part minio.ObjectPart) (bool, error) {
	if part.ChecksumSHA256 != "" {
		want, err := base64.StdEncoding.DecodeString(part.ChecksumSHA256)
		if err != nil {
			return false, nil
		}
		sum, err := p.sumOf(ctx, part.PartNumber, nil)
		return bytes.Equal(sum, want), err
	}
	want, err := hex.DecodeString(strings.Trim(part.ETag, `"`))
	if err != nil || len(want) != md5.Size {
		return false, nil // encrypted by a key of the server's, or another kind of server
	}
	sum := md5.New()
	body, _ := p.part(ctx, part.PartNumber)
	if _, err := io.Copy(sum, body); err != nil {
		return false, p.fail(ctx, "create", p.of.key, err)
	}
	return bytes.Equal(sum.Sum(nil), want), nil
}
