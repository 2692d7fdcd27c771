package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/matchd/matchd/lab/process"
)

// asset is a file that both servers give out.
type asset struct {
	name        string
	size        int64 // bytes
	connections int
}

var assetSizes = []asset{{"initrd.img", 100 << 20, 8}, {"vmlinuz", 8 << 20, 16}, {"small", 1 << 10, 16}}

const nginxConfig = `daemon off;
worker_processes auto;
pid %[1]s/pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  default_type application/octet-stream;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  server { listen 8081; root %[2]s; }
}
`

// benchAssets loads both servers in turns, so that a busy neighbour meets both.
func benchAssets(ctx context.Context, o *options) error {
	b, err := newBed(o)
	if err != nil {
		return err
	}
	defer b.Close()
	files := filepath.Join(b.scratch, "files")
	if err := writeAssets(filepath.Join(files, "assets")); err != nil {
		return err
	}
	matchd, err := b.startMatchd(ctx, "--site", filepath.Join(b.scratch, "files"), "--assets-dir", filepath.Join(files, "assets"), "--tftp", "", "--dhcp-interfaces", "lan0=off")
	if err != nil {
		return err
	}
	defer matchd.Stop()
	nginx, err := b.startNginx(ctx, files)
	if err != nil {
		return err
	}
	defer nginx.Stop()
	fmt.Printf("wrk, %d s, median of %d, in turns:\n\n| file | connections | matchd | nginx 1.22 | ratio |\n| --- | --- | --- | --- | --- |\n", b.seconds, b.rounds)
	for _, a := range assetSizes {
		if err := b.compareAsset(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

func (b *bed) compareAsset(ctx context.Context, a asset) error {
	var rates [2][]float64
	for range b.rounds {
		for i, port := range []int{8080, 8081} {
			output, err := b.wrk(ctx, nil, a.connections, fmt.Sprintf("http://%s:%d/assets/%s", serverAddr.Addr(), port, a.name))
			if err != nil {
				return err
			}
			rate, err := number(output, `Requests/sec:\s+([0-9.]+)`)
			if err != nil {
				return err
			}
			rates[i] = append(rates[i], rate)
		}
	}
	ours, theirs := median(rates[0]), median(rates[1])
	show := func(rate float64) string {
		if a.size < 1<<20 {
			return fmt.Sprintf("%.0f/s", rate)
		}
		return fmt.Sprintf("%.0f MB/s", rate*float64(a.size)/1e6)
	}
	fmt.Printf("| %s | %d | %s | %s | %.2f |\n", sizeName(a.size), a.connections, show(ours), show(theirs), ours/theirs)
	return nil
}

func sizeName(size int64) string {
	if size >= 1<<20 {
		return fmt.Sprintf("%d MiB", size>>20)
	}
	return fmt.Sprintf("%d KiB", size>>10)
}

// writeAssets fills files with noise, so that nobody gains by compressing.
func writeAssets(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	noise := rand.NewChaCha8([32]byte{1})
	for _, a := range assetSizes {
		file, err := os.Create(filepath.Join(dir, a.name))
		if err != nil {
			return err
		}
		_, err = io.CopyN(file, noise, a.size)
		if closing := file.Close(); err == nil {
			err = closing
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bed) startNginx(ctx context.Context, root string) (*process.Process, error) {
	dir, err := b.state("nginx")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, "user root;\n"+nginxConfig, dir, root), 0o644); err != nil {
		return nil, err
	}
	opts := process.Options{Name: "nginx", Env: b.libraries(), Guard: true}
	url := fmt.Sprintf("http://%s:8081/assets/small", serverAddr.Addr())
	return b.start(ctx, opts, b.answers(url), filepath.Join(b.tools, "usr/sbin/nginx"), "-c", config, "-p", dir)
}
