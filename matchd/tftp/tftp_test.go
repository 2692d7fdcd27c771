package tftp_test

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	pin "github.com/pin/tftp/v3"

	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/tftp"
)

// TestLibraryClient fetches with the library's own client, which agrees to what other servers of it do.
func TestLibraryClient(t *testing.T) {
	source := files{}
	for _, n := range []int{0, 1, 511, 512, 513, 1024, 1468 * 3, 1 << 20} {
		source[strconv.Itoa(n)] = random(n)
	}
	for _, single := range []bool{false, true} {
		s := serve(t, tftp.Options{Source: source, SinglePort: single})
		for name, want := range source {
			for _, block := range []int{0, 1468} {
				c, err := pin.NewClient(s.addr)
				if err != nil {
					t.Fatal(err)
				}
				if block > 0 {
					c.SetBlockSize(block)
				}
				c.RequestTSize(block > 0)
				wt, err := c.Receive(name, "octet")
				if err != nil {
					t.Fatalf("single %v, block %d, file %s: %v", single, block, name, err)
				}
				if size, ok := wt.(pin.IncomingTransfer).Size(); block > 0 && (!ok || size != int64(len(want))) {
					t.Errorf("block %d, file %s: size is %d, %v", block, name, size, ok)
				}
				var got bytes.Buffer
				if _, err := wt.WriteTo(&got); err != nil {
					t.Errorf("single %v, block %d, file %s: %v", single, block, name, err)
				}
				if !bytes.Equal(got.Bytes(), want) {
					t.Errorf("single %v, block %d, file %s: got %d bytes, want %d", single, block, name, got.Len(), len(want))
				}
				e := s.events.next(t)
				if e.Bytes != int64(len(want)) || e.Total != int64(len(want)) || e.Error != "" || e.MAC != mac || e.Peer != "127.0.0.1" {
					t.Errorf("event is %+v, want %d bytes", e, len(want))
				}
			}
		}
	}
}

func TestWindows(t *testing.T) {
	content := random(300_000)
	s := serve(t, tftp.Options{Source: files{"f": content}})
	never := func() bool { return false }
	lossy := func() func() bool {
		r := rand.New(rand.NewPCG(1, 2))
		return func() bool { return r.IntN(40) == 0 }
	}
	for _, tc := range []struct {
		name   string
		window string
		oack   string
		drop   func() bool
	}{
		{"lock-step", "", "blksize\x001468\x00", never},
		{"window of 1", "1", "blksize\x001468\x00windowsize\x001\x00", never},
		{"window of 4 as EDK2 asks", "4", "blksize\x001468\x00windowsize\x004\x00", never},
		{"more than we grant", "1000", "blksize\x001468\x00windowsize\x0064\x00", never},
		{"window of 4 with losses", "4", "blksize\x001468\x00windowsize\x004\x00", lossy()},
		{"window of 7 with losses", "7", "blksize\x001468\x00windowsize\x007\x00", lossy()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dial(t, s.addr)
			options, window := []string{"blksize", "1468"}, 1
			if tc.window != "" {
				options = append(options, "windowsize", tc.window)
				window, _ = strconv.Atoi(tc.window)
				window = min(window, tftp.MaxWindow)
			}
			c.send(rrq("f", options...))
			if got, want := string(c.recv()), "\x00\x06"+tc.oack; got != want {
				t.Fatalf("OACK is %q, want %q", got, want)
			}
			c.send(ack(0))
			if got := c.fetch(1468, window, tc.drop); !bytes.Equal(got, content) {
				t.Errorf("got %d bytes, want %d, or other ones", len(got), len(content))
			}
			if e := s.events.next(t); e.Bytes != int64(len(content)) {
				t.Errorf("event is %+v", e)
			}
		})
	}
}

// TestBlockNumbersWrap sends more than 65535 blocks.
func TestBlockNumbersWrap(t *testing.T) {
	content := random(66_000*512 + 7)
	s := serve(t, tftp.Options{Source: files{"f": content}})
	c := dial(t, s.addr)
	c.send(rrq("f", "windowsize", "63")) // a window that does not divide 65536
	c.recv()
	c.send(ack(0))
	got := c.fetch(512, 63, func() bool { return false })
	if !bytes.Equal(got, content) {
		t.Errorf("got %d bytes, want %d, or other ones", len(got), len(content))
	}
}

func TestAnswers(t *testing.T) {
	source := files{"f": []byte("content"), "empty": nil}
	s := serve(t, tftp.Options{
		Source:    source,
		BlockSize: func(m machine.MAC) int { return map[machine.MAC]int{mac: 1024}[m] },
	})
	for _, tc := range []struct {
		name, request, want string
	}{
		{"plain", "\x00\x01f\x00octet\x00", "\x00\x03\x00\x01content"},
		{"mode in upper case", "\x00\x01f\x00OCTET\x00", "\x00\x03\x00\x01content"},
		{"without the last NUL", "\x00\x01f\x00octet", "\x00\x03\x00\x01content"},
		{"empty file", "\x00\x01empty\x00octet\x00", "\x00\x03\x00\x01"},
		{"size of an empty file", "\x00\x01empty\x00octet\x00tsize\x000\x00", "\x00\x06tsize\x000\x00"},
		{"unknown options only", "\x00\x01f\x00octet\x00timeout\x001\x00multicast\x00\x00", "\x00\x03\x00\x01content"},
		{"options in upper case", "\x00\x01f\x00octet\x00TSIZE\x000\x00BLKSIZE\x00600\x00", "\x00\x06blksize\x00600\x00tsize\x007\x00"},
		{"the machine's block size", "\x00\x01f\x00octet\x00blksize\x001468\x00", "\x00\x06blksize\x001024\x00"},
		{"block too small for us", "\x00\x01f\x00octet\x00blksize\x008\x00", "\x00\x03\x00\x01content"},
		{"block beyond the RFC", "\x00\x01f\x00octet\x00blksize\x0065465\x00", "\x00\x03\x00\x01content"},
		{"values that are no numbers", "\x00\x01f\x00octet\x00blksize\x00many\x00tsize\x00-1\x00windowsize\x00\x00", "\x00\x03\x00\x01content"},
		{"no size in netascii", "\x00\x01f\x00netascii\x00tsize\x000\x00", "\x00\x03\x00\x01content"},
		{"missing file", "\x00\x01nothing\x00octet\x00", "\x00\x05\x00\x01file not found\x00"},
		{"our failure", "\x00\x01broken\x00octet\x00", "\x00\x05\x00\x00server failure\x00"},
		{"not ready", "\x00\x01busy\x00octet\x00", "\x00\x05\x00\x00not ready, try again\x00"},
		{"write", "\x00\x02f\x00octet\x00", "\x00\x05\x00\x02this server is read-only\x00"},
		{"mail", "\x00\x01f\x00mail\x00", "\x00\x05\x00\x04mode is neither octet nor netascii\x00"},
		{"no mode", "\x00\x01ff\x00", "\x00\x05\x00\x04request without file name or mode\x00"},
		{"no name", "\x00\x01\x00octet\x00", "\x00\x05\x00\x04request without file name or mode\x00"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dial(t, s.addr)
			c.send([]byte(tc.request))
			if got := string(c.recv()); got != tc.want {
				t.Errorf("answer is %q, want %q", got, tc.want)
			}
			c.send([]byte("\x00\x05\x00\x00enough\x00"))
		})
	}
}

// TestSilence sends what must not be answered: an answer to a stray packet could be answered in turn, for ever.
func TestSilence(t *testing.T) {
	s := serve(t, tftp.Options{Source: files{"f": []byte("content")}})
	c := dial(t, s.addr)
	for _, p := range []string{"", "\x00", "\x00\x01\x00", "\x00\x03\x00\x01data", "\x00\x04\x00\x01", "\x00\x05\x00\x00no\x00", "\x00\x06\x00\x00", "\xff\xff\xff\xff"} {
		c.send([]byte(p))
	}
	c.send(rrq("f"))
	if got := string(c.recv()); got != "\x00\x03\x00\x01content" {
		t.Errorf("first answer is %q, want the file", got)
	}
}

// TestSizeProbe plays EDK2: ask for the size, abort, ask for the file, from the same port.
func TestSizeProbe(t *testing.T) {
	s := serve(t, tftp.Options{Source: files{"f": []byte("content")}})
	c := dial(t, s.addr)
	listening := c.to
	c.send(rrq("f", "tsize", "0", "blksize", "1468", "windowsize", "4"))
	if got, want := string(c.recv()), "\x00\x06blksize\x001468\x00tsize\x007\x00windowsize\x004\x00"; got != want {
		t.Fatalf("OACK is %q, want %q", got, want)
	}
	c.send([]byte("\x00\x05\x00\x08User aborted the transfer\x00"))
	s.outcome(t, "probe", 1)
	c.to = listening
	c.send(rrq("f", "blksize", "1468"))
	c.recv()
	c.send(ack(0))
	if got := string(c.recv()); got != "\x00\x03\x00\x01content" {
		t.Errorf("got %q", got)
	}
	c.send(ack(1))
	if e := s.events.next(t); e.Stage != event.LoaderSent || e.Error != "" || e.Level != "" {
		t.Errorf("the first event is %+v, want the file's only", e)
	}
	if p := c.poll(50 * time.Millisecond); p != nil {
		t.Errorf("after the end came %q", p)
	}
}

func TestAbortIsRecorded(t *testing.T) {
	s := serve(t, tftp.Options{Source: files{"f": random(5000)}})
	c := dial(t, s.addr)
	c.send(rrq("f"))
	c.recv()
	c.send(ack(1))
	c.recv()
	c.send([]byte("\x00\x05\x00\x03disk full\x00"))
	e := s.events.next(t)
	if e.Level != event.Warn || e.Error != "error 3: disk full" || e.Bytes != 512 || e.Total != 5000 {
		t.Errorf("event is %+v", e)
	}
	if p := c.poll(50 * time.Millisecond); p != nil {
		t.Errorf("an ERROR was answered with %q", p)
	}
}

func TestMissingKernelIsRecorded(t *testing.T) {
	s := serve(t, tftp.Options{Source: files{}})
	c := dial(t, s.addr)
	for _, name := range []string{"revocations.efi", "grub/x86_64-efi/command.lst", "assets/vmlinuz"} {
		c.send(rrq(name))
		c.recv()
		c = dial(t, s.addr)
	}
	if e := s.events.next(t); e.Stage != event.Refused || !strings.Contains(e.Message, "assets/vmlinuz") {
		t.Errorf("event is %+v, want one about the kernel only", e)
	}
}

func TestRequestSentAgain(t *testing.T) {
	s := serve(t, tftp.Options{Source: files{"f": random(5000)}})
	c := dial(t, s.addr)
	listening := c.to
	c.send(rrq("f"))
	first := c.recv()
	transfer := c.to
	c.to = listening
	c.send(rrq("f")) // the answer crossed it
	if p := c.poll(100 * time.Millisecond); p != nil {
		t.Fatalf("a request sent again got %q from %v", p, c.to)
	}
	c.to = transfer
	c.send(ack(1))
	if p := c.recv(); p[3] != 2 {
		t.Fatalf("after ACK 1 came %q", p[:4])
	}
	c.to = listening
	c.send(rrq("f")) // the machine was reset
	if p := c.recv(); !bytes.Equal(p, first) || c.to.Port == transfer.Port {
		t.Errorf("a new request from the old port got %q from %v", p[:4], c.to)
	}
}

func TestTooManyTransfers(t *testing.T) {
	s := serve(t, tftp.Options{Source: files{"f": random(5000)}, MaxTransfers: 2})
	for range 2 {
		c := dial(t, s.addr)
		c.send(rrq("f"))
		c.recv()
		c.send(ack(1))
		c.recv()
	}
	c := dial(t, s.addr)
	c.send(rrq("f"))
	if got, want := string(c.recv()), "\x00\x05\x00\x00too many transfers, try again\x00"; got != want {
		t.Errorf("answer is %q, want %q", got, want)
	}
	s.outcome(t, "busy", 1)
}

// TestSilentClientsMakeRoom fills the server with requests whose senders never answer, as made-up ones do not.
func TestSilentClientsMakeRoom(t *testing.T) {
	s := serve(t, tftp.Options{Source: files{"f": random(5000)}, MaxTransfers: 2})
	reading := dial(t, s.addr)
	reading.send(rrq("f"))
	reading.recv()
	reading.send(ack(1))
	reading.recv()
	for range 5 {
		c := dial(t, s.addr)
		c.send(rrq("f"))
		if p := c.recv(); p[1] != 3 {
			t.Fatalf("a machine among silent ones got %q", p)
		}
	}
	s.outcome(t, "aborted", 4)
	s.outcome(t, "busy", 0)
	reading.send(ack(2))
	if p := reading.recv(); p[3] != 3 {
		t.Errorf("the client that answered got %q", p[:4])
	}
}

func TestSinglePort(t *testing.T) {
	s := serve(t, tftp.Options{Source: files{"f": random(5000)}, SinglePort: true})
	c := dial(t, s.addr)
	c.send(rrq("f", "windowsize", "3"))
	c.recv()
	if c.to.String() != s.addr {
		t.Errorf("answer came from %v, want %s", c.to, s.addr)
	}
	c.send(ack(0))
	if got := c.fetch(512, 3, func() bool { return false }); !bytes.Equal(got, random(5000)) {
		t.Errorf("got %d bytes", len(got))
	}
}

func TestNewRefusesBadOptions(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	for _, o := range []tftp.Options{{}, {Source: files{}, Recorder: &recorder{}}, {Source: files{}, Recorder: &recorder{}, Logger: logger, MaxTransfers: -1}} {
		if _, err := tftp.New(o); err == nil {
			t.Errorf("New(%+v) succeeded", o)
		}
	}
}

// FuzzServe throws packets at a server and asks whether it still serves.
func FuzzServe(f *testing.F) {
	s := serve(f, tftp.Options{Source: files{"f": []byte("content")}, MaxTransfers: 4096})
	for _, seed := range [][]byte{
		rrq("f"), rrq("f", "blksize", "1468", "tsize", "0", "windowsize", "4"), rrq("f", "tsize", strings.Repeat("9", 400)),
		[]byte("\x00\x01\x00\x00"), []byte("\x00\x02f\x00octet\x00"), []byte("\x00\x01f"), ack(1), []byte("\x00\x06blksize\x00"),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) > 1400 {
			return
		}
		c := dial(t, s.addr)
		listening := c.to
		c.send(p)
		if answer := c.poll(time.Millisecond); answer != nil {
			c.send([]byte("\x00\x05\x00\x00enough\x00"))
		}
		fresh := dial(t, s.addr)
		fresh.to = listening
		fresh.send(rrq("f"))
		if got := string(fresh.recv()); got != "\x00\x03\x00\x01content" {
			t.Errorf("after %q the server answers %q", p, got)
		}
		fresh.send(ack(1))
		for {
			select {
			case <-s.events.events:
				continue
			default:
			}
			break
		}
	})
}
