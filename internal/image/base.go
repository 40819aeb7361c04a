package image

import (
	"context"
	"os"
)

// What a program that stands alone expects to find. Nothing of it is the
// host's: a name server or a host name of ours would tell about us, and
// change the image when the network changes. Who grants egress mounts its own
// resolv.conf.
const (
	passwd   = "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"
	group    = "root:x:0:\nnogroup:x:65534:\n"
	hosts    = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	nsswitch = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"
	resolv   = "# No name servers: this function has no network.\n"
)

const certificatesInside = "/etc/ssl/certs/ca-certificates.crt"

func (b *binarySource) addBase(ctx context.Context, a *assembly) error {
	if err := a.addMountPoints(); err != nil {
		return err
	}
	for _, dir := range []struct {
		path string
		mode uint32
	}{{"/root", 0o700}, {"/var/tmp", 0o1777}} {
		if err := a.putDir(dir.path, dir.mode); err != nil {
			return err
		}
	}
	for _, file := range []struct{ path, text string }{
		{"/etc/passwd", passwd}, {"/etc/group", group}, {"/etc/hosts", hosts},
		{"/etc/nsswitch.conf", nsswitch}, {"/etc/resolv.conf", resolv},
	} {
		if err := a.putText(file.path, file.text); err != nil {
			return err
		}
	}
	for _, bundle := range b.certificates {
		if _, err := os.Stat(bundle); err == nil {
			return a.putHost(ctx, certificatesInside, bundle, 0o444)
		}
	}
	return nil
}

// mountPoints are the folders that every sandbox mounts something on: the root
// is read-only by then.
var mountPoints = []struct {
	path string
	mode uint32
}{{"/proc", 0o555}, {"/sys", 0o555}, {"/dev", 0o755}, {"/tmp", 0o1777}}

func (a *assembly) addMountPoints() error {
	for _, dir := range mountPoints {
		if err := a.putDir(dir.path, dir.mode); err != nil {
			return err
		}
	}
	return nil
}
