package storage

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7"
)

// s3Store is a prefix of a bucket. Reading goes through netReader, writing through s3write.go.
//
// What is known of S3 servers and of the client library, and shapes this code: the library's own multipart upload loses
// its conditions at completion, so a small object is one PUT and a large one goes in parts by its low-level calls
// (s3parts.go); the library's own retry turns a lost
// answer into 412 for one's own write, so conditional writes are tried once and settled by reading back; 304 comes
// as an error; a body that is cut short is not resumed; absent may read as 403 where the right to list is missing.
type s3Store struct {
	*netReader
	reads  *minio.Core   // retries
	writes *minio.Core   // does not
	plain  *minio.Client // reads, for listing
	opts   Options
	bucket string
	prefix string // "" or ends in "/"
	region string
	url    string
}

func openS3(ctx context.Context, u *url.URL, opts Options) (Store, error) {
	a, err := parseS3(u, opts)
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(opts, a.secure)
	if err != nil {
		return nil, err
	}
	base := minio.Options{
		Creds: s3Credentials(opts, a.region), Secure: a.secure, Transport: transport,
		Region: a.region, BucketLookup: minio.BucketLookupPath, MaxRetries: maxAttempts,
	}
	once := base
	once.MaxRetries = 1
	reads, err := minio.NewCore(a.host, &base)
	if err != nil {
		return nil, &AddressError{URL: shown(u), Reason: err.Error()}
	}
	writes, err := minio.NewCore(a.host, &once)
	if err != nil {
		return nil, &AddressError{URL: shown(u), Reason: err.Error()}
	}
	s := &s3Store{
		reads: reads, writes: writes, plain: reads.Client, opts: opts,
		bucket: a.bucket, prefix: a.prefix, region: a.region, url: u.Redacted(),
	}
	s.netReader = &netReader{fetch: s.fetch, stat: s.stat, fail: s.fail, timeout: opts.timeout(), now: opts.Now, resumes: opts.resumes()}
	if opts.CreateBucket {
		return s, s.makeBucket(ctx)
	}
	return s, nil
}

// s3Address is what an s3:// URL and the environment say.
type s3Address struct {
	bucket, prefix, host, region string
	secure                       bool
}

func parseS3(u *url.URL, opts Options) (s3Address, error) {
	bad := func(format string, args ...any) (s3Address, error) {
		return s3Address{}, &AddressError{URL: shown(u), Reason: fmt.Sprintf(format, args...)}
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return bad("its parameters cannot be read")
	}
	for name, values := range query {
		if name != "endpoint" && name != "region" || len(values) > 1 {
			return bad("its parameters are one endpoint and one region, not %q", name)
		}
	}
	if u.User != nil || u.Fragment != "" {
		return bad("credentials come from the environment or the AWS files")
	}
	a := s3Address{bucket: u.Host, prefix: strings.Trim(u.Path, "/")}
	if a.bucket == "" {
		return bad("has no bucket")
	}
	if a.prefix != "" {
		if err := checkKey(a.prefix); err != nil {
			return bad("%v", err)
		}
		a.prefix += "/"
	}
	a.region = first(query.Get("region"), opts.getenv("AWS_REGION"), opts.getenv("AWS_DEFAULT_REGION"), "us-east-1")
	endpoint := first(query.Get("endpoint"), opts.getenv("AWS_ENDPOINT_URL_S3"), opts.getenv("AWS_ENDPOINT_URL"),
		"https://s3."+a.region+".amazonaws.com")
	e, err := url.Parse(endpoint)
	if err != nil || e.Scheme != "http" && e.Scheme != "https" || e.Host == "" || strings.Trim(e.Path, "/") != "" || e.RawQuery != "" || e.User != nil {
		return bad("the endpoint is written https://host or https://host:port, without path, user or parameters")
	}
	a.host, a.secure = e.Host, e.Scheme == "https"
	return a, nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func (s *s3Store) URL() string { return s.url }

// makeBucket makes the bucket when there is none. Without the right to look for it nothing is done: the first
// call that needs the bucket will tell.
func (s *s3Store) makeBucket(parent context.Context) error {
	ctx, w := watched(parent, s.timeout)
	defer w.end()
	exists, err := s.plain.BucketExists(ctx, s.bucket)
	if exists || err != nil && s3Code(err) == http.StatusForbidden {
		return nil
	}
	if err != nil {
		return s.fail(ctx, "open", "", err)
	}
	w.resume()
	err = s.plain.MakeBucket(ctx, s.bucket, minio.MakeBucketOptions{Region: s.region})
	if err != nil {
		if exists, again := s.plain.BucketExists(ctx, s.bucket); again == nil && exists {
			return nil // somebody else made it, or the answer was lost
		}
	}
	return s.fail(ctx, "create bucket", "", err)
}

func (s *s3Store) fetch(ctx context.Context, key string, want fetchRequest) (answer, error) {
	var opts minio.GetObjectOptions
	if want.ranged() {
		opts.Set("Range", want.header())
	}
	if want.ifMatch != "" {
		opts.Set("If-Match", quoted(want.ifMatch))
	}
	if want.ifChanged != "" {
		opts.Set("If-None-Match", quoted(want.ifChanged))
	}
	body, object, header, err := s.reads.GetObject(ctx, s.bucket, s.prefix+key, opts)
	if err != nil {
		if s3Code(err) == http.StatusRequestedRangeNotSatisfiable {
			return answer{}, errRange
		}
		return answer{}, err
	}
	partial := header.Get("Content-Range") != "" // without it no 206 comes this far: transport.go
	start, size, err := placeOf(partial, header)
	if err != nil {
		body.Close()
		return answer{}, err
	}
	info := Info{Key: key, Size: size, ETag: object.ETag, Modified: object.LastModified}
	return answer{body: body, start: start, partial: partial, info: info}, nil
}

// quoted undoes the library's habit of taking the quotes off a tag.
func quoted(etag string) string { return `"` + etag + `"` }

func (s *s3Store) stat(ctx context.Context, key string) (Info, error) {
	object, err := s.plain.StatObject(ctx, s.bucket, s.prefix+key, minio.StatObjectOptions{})
	if err != nil {
		return Info{}, err
	}
	return Info{Key: key, Size: object.Size, ETag: object.ETag, Modified: object.LastModified}, nil
}

// List asks page by page; the deadline is for each page, and a slow consumer is not held against the server.
func (s *s3Store) List(parent context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		ctx, w := watched(parent, s.timeout)
		defer w.end()
		owner := false
		opts := minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true, FetchOwner: &owner}
		if after != "" {
			opts.StartAfter = s.prefix + after
		}
		last := ""
		for object := range s.plain.ListObjectsIter(ctx, s.bucket, opts) {
			w.pause()
			info, err := s.listed(ctx, object, prefix, last)
			if err != nil {
				yield(Info{}, err)
				return
			}
			last = info.Key
			if info.Key > after && checkKey(info.Key) == nil && !yield(info, nil) {
				return
			}
			w.resume()
		}
		if ctx.Err() != nil {
			yield(Info{}, s.fail(ctx, "list", prefix, ctx.Err()))
		}
	}
}

// listed checks that a listing ascends: going on after the last key seen rests on it.
func (s *s3Store) listed(ctx context.Context, object minio.ObjectInfo, prefix, last string) (Info, error) {
	if object.Err != nil {
		return Info{}, s.fail(ctx, "list", prefix, object.Err)
	}
	key, ok := strings.CutPrefix(object.Key, s.prefix)
	if !ok || key < last {
		err := fmt.Errorf("the store lists %q after %q", object.Key, s.prefix+last)
		return Info{}, &Error{Op: "list", Store: s.url, Err: err}
	}
	return Info{Key: key, Size: object.Size, ETag: object.ETag, Modified: object.LastModified}, nil
}
