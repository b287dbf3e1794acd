package main

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"time"
)

// Most that a process may hold.
const (
	mostMemory      = 200 << 20
	mostDeltaMemory = 600 << 20
)

// catalogs makes, once, those that hold v1, then v2 with deltas and without, and v3 and v2 as ext4.
func (b *bench) catalogs(ctx context.Context) error {
	if b.published {
		return nil
	}
	b.published = true
	if _, err := b.publish(ctx, "empty", "v1", "v1.tar"); err != nil {
		return err
	}
	if err := b.warm(ctx, "v1"); err != nil {
		return err
	}
	for to, release := range map[string]string{"v1-v2": "v2.tar", "v1-v3": "v3.tar"} {
		if _, err := b.publish(ctx, "v1", to, release); err != nil {
			return err
		}
	}
	if _, err := b.publish(ctx, "v1", "v1-v2-plain", "v2.tar", "--no-delta"); err != nil {
		return err
	}
	if _, err := b.publish(ctx, "empty", "e1", "v1.ext4"); err != nil {
		return err
	}
	if err := b.warm(ctx, "e1"); err != nil {
		return err
	}
	_, err := b.publish(ctx, "e1", "e1-e2", "v2.ext4")
	return err
}

func (b *bench) publishing(ctx context.Context) error {
	v2, out := b.image("v2.tar"), b.path("peer.zst")
	var packed int64
	costs, err := inTurn(b.n, func() (cost, error) { return b.publish(ctx, "empty", "cold", "v2.tar", "--no-delta") },
		func() (cost, error) {
			c, err := b.peer(ctx, out, "", []string{"zstd", "-q", "-3", "-T2", v2, "-o", out}, []string{"sha256sum", v2})
			if info, err := os.Stat(out); err == nil {
				packed = info.Size()
			}
			return c, err
		})
	if err != nil {
		return err
	}
	row("cold publish, no delta, CPU", seconds(costs[0].cpu), "`zstd -3 -T2` and `sha256sum` "+seconds(costs[1].cpu), ratio(costs[0].cpu, costs[1].cpu), 1)
	row("the same, wall", seconds(costs[0].wall), seconds(costs[1].wall), ratio(costs[0].wall, costs[1].wall), 0)
	row("bytes that it stores", megabytes(costs[0].bytes), "`zstd -3` "+megabytes(packed), ratio(costs[0].bytes, packed), 1.12)
	limit("memory of it", costs[0].memory, mostMemory, mib)
	return nil
}

func (b *bench) makingDelta(ctx context.Context) error {
	if err := b.catalogs(ctx); err != nil {
		return err
	}
	v1, v2, out := b.image("v1.tar"), b.image("v2.tar"), b.path("peer.vcdiff")
	costs, err := inTurn(b.n, func() (cost, error) { return b.publish(ctx, "v1", "with", "v2.tar") },
		func() (cost, error) { return b.publish(ctx, "v1", "without", "v2.tar", "--no-delta") },
		func() (cost, error) { return b.peer(ctx, out, "", []string{"xdelta3", "-f", "-e", "-s", v1, v2, out}) })
	if err != nil {
		return err
	}
	took := costs[0].cpu - costs[1].cpu
	row("making one delta, CPU (a publication with it, less one without)", seconds(took), "`xdelta3 -e` "+seconds(costs[2].cpu), ratio(took, costs[2].cpu), 0.333)
	row("the delta", megabytes(costs[0].bytes-costs[1].bytes), "", 0, 0)
	limit("memory of that publication", costs[0].memory, mostDeltaMemory, mib)
	return nil
}

func (b *bench) publishingAgain(ctx context.Context) error {
	if err := b.catalogs(ctx); err != nil {
		return err
	}
	costs, err := inTurn(b.n, func() (cost, error) { return b.publish(ctx, "v1", "again", "v3.tar", "--no-delta") },
		func() (cost, error) { return b.publish(ctx, "empty", "cold", "v3.tar", "--no-delta") })
	if err != nil {
		return err
	}
	row("publish v3 after v1, no delta, CPU", seconds(costs[0].cpu), "cold "+seconds(costs[1].cpu), ratio(costs[0].cpu, costs[1].cpu), 0.4)
	row("bytes that it uploads", megabytes(costs[0].bytes), "", 0, 0)
	return nil
}

func (b *bench) fetchingDelta(ctx context.Context) error {
	if err := b.catalogs(ctx); err != nil {
		return err
	}
	v1, v2, out := b.image("v1.tar"), b.image("v2.tar"), b.path("peer.out")
	casync, err := b.casync(ctx)
	if err != nil {
		return err
	}
	vcdiff := b.path("peer.vcdiff")
	if _, err := b.peer(ctx, vcdiff, "", []string{"xdelta3", "-f", "-e", "-s", v1, v2, vcdiff}); err != nil {
		return err
	}
	costs, err := inTurn(b.n, func() (cost, error) { return b.fetch(ctx, "v1-v2", "2.0.0", v2, "--seed", v1) },
		func() (cost, error) { return b.peer(ctx, out, v2, casync) },
		func() (cost, error) {
			return b.peer(ctx, out, v2, []string{"xdelta3", "-f", "-d", "-s", v1, vcdiff, out})
		})
	if err != nil {
		return err
	}
	have, seeded, patched := costs[0], costs[1], costs[2]
	row("bytes, v1 to v2, everything counted", megabytes(have.bytes), "casync "+megabytes(seeded.bytes), ratio(have.bytes, seeded.bytes), 0.22)
	if info, err := os.Stat(vcdiff); err == nil {
		row("", "", "`xdelta3 -e -s` "+megabytes(info.Size()), ratio(have.bytes, info.Size()), 0.8)
	}
	limit("requests of that fetch, state warm", have.requests, 10, count)
	row("CPU of that fetch", seconds(have.cpu), "`casync extract --seed` "+seconds(seeded.cpu), ratio(have.cpu, seeded.cpu), 0.5)
	row("", "", "`xdelta3 -d`, which verifies nothing "+seconds(patched.cpu), ratio(have.cpu, patched.cpu), 0)
	limit("memory of that fetch", have.memory, mostDeltaMemory, mib)
	return b.zsync(ctx, have)
}

// casync cuts v2 for its server, and gives the command that brings it.
func (b *bench) casync(ctx context.Context) ([]string, error) {
	index, store := b.path("peers", "v2.caibx"), b.path("peers", "v2.castr")
	if err := os.MkdirAll(b.path("peers"), 0o700); err != nil {
		return nil, err
	}
	if _, err := os.Stat(index); err != nil {
		if _, err := b.peer(ctx, index, "", []string{"casync", "make", "--store=" + store, index, b.image("v2.tar")}); err != nil {
			return nil, err
		}
	}
	return []string{"casync", "extract", "--store=" + b.server.url + "/peers/v2.castr", "--seed=" + b.image("v1.tar"), b.server.url + "/peers/v2.caibx", b.path("peer.out")}, nil
}

// patience is how long zsync may take, which asks for hundreds of ranges in one request, again and again.
const patience = 2 * time.Minute

// zsync brings v2 as zsync does.
func (b *bench) zsync(ctx context.Context, have cost) error {
	index, out := b.path("peers", "v2.zsync"), b.path("peer.out")
	if err := os.RemoveAll(b.path("peers", "v2.tar")); err != nil {
		return err
	}
	if err := link(b.image("v2.tar"), b.path("peers", "v2.tar")); err != nil {
		return err
	}
	if _, err := b.peer(ctx, index, "", []string{"zsyncmake", "-u", b.server.url + "/peers/v2.tar", "-o", index, b.path("peers", "v2.tar")}); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := b.peer(limited, out, b.image("v2.tar"), []string{"zsync", "-q", "-i", b.image("v1.tar"), "-o", out, b.server.url + "/peers/v2.zsync"})
	if limited.Err() != nil && ctx.Err() == nil {
		row("", "", "zsync: not done after "+patience.String(), 0, 0)
		return nil
	}
	if err != nil {
		return err
	}
	row("", "", "zsync "+megabytes(c.bytes), ratio(have.bytes, c.bytes), 0)
	row("", "", "zsync, CPU "+seconds(c.cpu), ratio(have.cpu, c.cpu), 0)
	return nil
}

func (b *bench) fetchingSmall(ctx context.Context) error {
	if err := b.catalogs(ctx); err != nil {
		return err
	}
	one, err := b.fetch(ctx, "v1-v3", "3.0.0", b.image("v3.tar"), "--seed", b.image("v1.tar"))
	if err != nil {
		return err
	}
	limit("bytes, v1 to v3, everything counted", one.bytes, 2e6, megabytes)
	tar, err := b.fetch(ctx, "v1-v2", "2.0.0", b.image("v2.tar"), "--seed", b.image("v1.tar"))
	if err != nil {
		return err
	}
	ext4, err := b.fetch(ctx, "e1-e2", "2.0.0", b.image("v2.ext4"), "--seed", b.image("v1.ext4"))
	if err != nil {
		return err
	}
	row("bytes, v1 to v2, ext4", megabytes(ext4.bytes), "tar "+megabytes(tar.bytes), ratio(ext4.bytes, tar.bytes), 1.1)
	return nil
}

func (b *bench) fetchingRanges(ctx context.Context) error {
	if err := b.catalogs(ctx); err != nil {
		return err
	}
	casync, err := b.casync(ctx)
	if err != nil {
		return err
	}
	v1, v2 := b.image("v1.tar"), b.image("v2.tar")
	costs, err := inTurn(1, func() (cost, error) { return b.fetch(ctx, "v1-v2-plain", "2.0.0", v2, "--seed", v1) },
		func() (cost, error) { return b.peer(ctx, b.path("peer.out"), v2, casync) })
	if err != nil {
		return err
	}
	row("bytes by ranges, from a seed without a delta", megabytes(costs[0].bytes), "casync "+megabytes(costs[1].bytes), ratio(costs[0].bytes, costs[1].bytes), 1.4)
	row("requests of it", count(costs[0].requests), "casync "+count(costs[1].requests), ratio(costs[0].requests, costs[1].requests), 0.1)
	return nil
}

func (b *bench) fetchingAll(ctx context.Context) error {
	if err := b.catalogs(ctx); err != nil {
		return err
	}
	v2, out, packed := b.image("v2.tar"), b.path("peer.out"), b.path("peers", "v2.tar.zst")
	if err := os.MkdirAll(b.path("peers"), 0o700); err != nil {
		return err
	}
	if _, err := b.peer(ctx, packed, "", []string{"zstd", "-q", "-3", "-T2", v2, "-o", packed}); err != nil {
		return err
	}
	got := b.path("got.zst")
	costs, err := inTurn(b.n, func() (cost, error) { return b.fetch(ctx, "v1-v2", "2.0.0", v2) },
		func() (cost, error) {
			return b.peer(ctx, out, v2, []string{"curl", "-sf", "-o", got, b.server.url + "/peers/v2.tar.zst"}, []string{"sha256sum", got}, []string{"zstd", "-q", "-d", got, "-o", out})
		},
		func() (cost, error) {
			return b.peer(ctx, out, v2, []string{"curl", "-sf", "-o", got, b.server.url + "/peers/v2.tar.zst"}, []string{"zstd", "-q", "-d", "-f", got, "-o", out}, []string{"sha256sum", out})
		})
	if err != nil {
		return err
	}
	compare("full fetch, from nothing, http", "`curl`, `sha256sum` of what came, `zstd -d`", costs[0], costs[1])
	row("", "", "the same, with `sha256sum` of the raw file, as Kitchen verifies it, CPU "+seconds(costs[2].cpu), ratio(costs[0].cpu, costs[2].cpu), 0)
	limit("memory of it", costs[0].memory, mostMemory, mib)
	return nil
}

func compare(what, peer string, have, other cost) {
	row(what+", CPU", seconds(have.cpu), peer+" "+seconds(other.cpu), ratio(have.cpu, other.cpu), 0.8)
	row("the same, wall", seconds(have.wall), seconds(other.wall), ratio(have.wall, other.wall), 0.7)
}

// fetchingS3 does it all once more on the S3 server in whose environment this program runs.
func (b *bench) fetchingS3(ctx context.Context) error {
	endpoint := os.Getenv("KITCHEN_TEST_S3_ENDPOINT")
	if endpoint == "" {
		row("full fetch, from nothing, S3", "SKIPPED: no S3 server; run inside `s3server -- transferbench …`", "", 0, 0)
		return nil
	}
	for name, value := range map[string]string{"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": endpoint, "ENV_AUTH": "true", "REGION": os.Getenv("AWS_REGION")} {
		if err := os.Setenv("RCLONE_CONFIG_BENCH_"+name, value); err != nil {
			return err
		}
	}
	os.Unsetenv("AWS_CA_BUNDLE") // rclone fails on it, and takes the authority from a flag
	rclone := []string{"rclone", "--ca-cert", os.Getenv("SSL_CERT_FILE"), "--s3-no-check-bucket", "--config", b.path("rclone.conf")}
	v2, out, packed := b.image("v2.tar"), b.path("peer.out"), b.path("v2.tar.zst")
	if _, err := b.peer(ctx, packed, "", []string{"zstd", "-q", "-3", "-T2", v2, "-o", packed}, append(rclone, "copy", packed, "bench:bench/peers")); err != nil {
		return err
	}
	if err := b.create(ctx, "s3", "s3://bench/catalog?endpoint="+endpoint+"&region="+os.Getenv("AWS_REGION")); err != nil {
		return err
	}
	if _, err := b.commands(ctx, b.vendor("s3", "publish", b.path("releases", "v2.tar"), "--key", b.key("engineer.key"))); err != nil {
		return err
	}
	got := b.path("got")
	costs, err := inTurn(b.n, func() (cost, error) { return b.fetch(ctx, "s3", "2.0.0", v2) },
		func() (cost, error) {
			return b.peer(ctx, out, v2, append(rclone, "copy", "--ignore-times", "bench:bench/peers/v2.tar.zst", got), []string{"sha256sum", got + "/v2.tar.zst"}, []string{"zstd", "-q", "-d", got + "/v2.tar.zst", "-o", out})
		})
	if err != nil {
		return err
	}
	compare("full fetch, from nothing, S3 over TLS", "`rclone copy`, `sha256sum` of what came, `zstd -d`", costs[0], costs[1])
	return nil
}

// tenGiB publishes and fetches v1, over and over, with edits between.
func (b *bench) tenGiB(ctx context.Context) error {
	image := b.path("releases", "large", "disk.img")
	if err := errors.Join(b.release("large", "9.0.0"), repeat(b.image("v1.tar"), image, 10<<30)); err != nil {
		return err
	}
	info, err := os.Stat(image)
	if err != nil {
		return err
	}
	made, err := b.publish(ctx, "empty", "large", "large")
	if err != nil {
		return err
	}
	what := "artifact of " + strings.TrimSuffix(mib(info.Size()>>10), "MiB") + "GiB, "
	limit(what+"publish: memory", made.memory, mostMemory, mib)
	row("the same, CPU and bytes stored", seconds(made.cpu)+", "+megabytes(made.bytes), "", 0, 0)
	got, err := b.fetch(ctx, "large", "9.0.0", image)
	if err != nil {
		return err
	}
	limit(what+"fetch: memory", got.memory, mostMemory, mib)
	row("the same, CPU and bytes fetched", seconds(got.cpu)+", "+megabytes(got.bytes), "", 0, 0)
	return nil
}

// repeat writes a file over and over, with a MB of noise after each, until it is so large.
func repeat(from, to string, least int64) error {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	noise := rand.NewChaCha8([32]byte{'b', 'e', 'n', 'c', 'h'})
	for n := int64(0); n < least && err == nil; {
		var in *os.File
		if in, err = os.Open(from); err != nil {
			break
		}
		var m, k int64
		m, err = io.Copy(out, in)
		in.Close()
		if err == nil {
			k, err = io.CopyN(out, noise, 1_000_003)
		}
		n += m + k
	}
	return errors.Join(err, out.Close())
}
