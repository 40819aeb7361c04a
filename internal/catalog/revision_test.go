package catalog_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/faas"
)

func revision(t *testing.T, change func(*faas.Function, *faas.Image)) *faas.Revision {
	t.Helper()
	fn := defaults()
	img := faas.Image{Digest: "sha256:1", Rootfs: "/store/1", Config: faas.ImageConfig{Entrypoint: []string{"/server"}}}
	change(fn, &img)
	rev, err := catalog.NewRevision(fn, img)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func TestRevisionDigestIgnoresPlaces(t *testing.T) {
	base := revision(t, func(*faas.Function, *faas.Image) {})
	for name, change := range map[string]func(*faas.Function, *faas.Image){
		"folder":   func(f *faas.Function, _ *faas.Image) { f.Dir = "/elsewhere" },
		"location": func(f *faas.Function, _ *faas.Image) { f.Image.Location = "/elsewhere/server" },
		"rootfs":   func(_ *faas.Function, i *faas.Image) { i.Rootfs = "/store2/1" },
		"files":    func(f *faas.Function, _ *faas.Image) { f.Files = map[string]string{"/a": "/elsewhere"} },
	} {
		if rev := revision(t, change); rev.Digest != base.Digest {
			t.Errorf("%s: the digest changed", name)
		}
	}
	for name, change := range map[string]func(*faas.Function, *faas.Image){
		"name":       func(f *faas.Function, _ *faas.Image) { f.Ref.Name = "g" },
		"env":        func(f *faas.Function, _ *faas.Image) { f.Env = map[string]string{"A": "b"} },
		"memory":     func(f *faas.Function, _ *faas.Image) { f.Limits.Memory++ },
		"reference":  func(f *faas.Function, _ *faas.Image) { f.Image = faas.ImageSource{Scheme: "registry", Location: "x"} },
		"image":      func(_ *faas.Function, i *faas.Image) { i.Digest = "sha256:2" },
		"entrypoint": func(_ *faas.Function, i *faas.Image) { i.Config.Entrypoint = []string{"/other"} },
	} {
		if rev := revision(t, change); rev.Digest == base.Digest {
			t.Errorf("%s: the digest is the same", name)
		}
	}
}

// Every field of a function is either part of the digest or known not to be.
func TestRevisionDigestCoversEveryField(t *testing.T) {
	base := revision(t, func(*faas.Function, *faas.Image) {})
	places := map[string]bool{"Dir": true, "Files": true, "Image": true}
	typ := reflect.TypeFor[faas.Function]()
	for i := range typ.NumField() {
		name := typ.Field(i).Name
		if places[name] {
			continue
		}
		rev := revision(t, func(f *faas.Function, _ *faas.Image) { disturb(t, reflect.ValueOf(f).Elem().Field(i)) })
		if rev.Digest == base.Digest {
			t.Errorf("field %s is not part of the digest", name)
		}
	}
}

// disturb gives v another value.
func disturb(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Float64:
		v.SetFloat(v.Float() + 1)
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Struct:
		disturb(t, v.Field(0))
	case reflect.Slice:
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
	case reflect.Map:
		m := reflect.MakeMap(v.Type())
		m.SetMapIndex(reflect.ValueOf("k"), reflect.Zero(v.Type().Elem()))
		v.Set(m)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	default:
		t.Fatalf("no way to disturb %s", v.Type())
	}
}

func TestRevisionWithoutCommand(t *testing.T) {
	for name, c := range map[string]struct {
		command []string
		image   faas.Image
		bad     bool
	}{
		"neither":            {nil, faas.Image{Rootfs: "/store/1"}, true},
		"the function's":     {[]string{"/x"}, faas.Image{Rootfs: "/store/1"}, false},
		"not in our store":   {nil, faas.Image{}, false},
		"that of the image":  {nil, faas.Image{Rootfs: "/store/1", Config: faas.ImageConfig{Entrypoint: []string{"/x"}}}, false},
		"an empty one there": {nil, faas.Image{Rootfs: "/store/1", Config: faas.ImageConfig{Entrypoint: []string{}}}, true},
	} {
		fn := defaults()
		fn.Command = c.command
		_, err := catalog.NewRevision(fn, c.image)
		if bad := faas.KindOf(err) == faas.KindInvalid && err != nil; bad != c.bad {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// What stands in for a function is the same function in another sandbox, which
// nobody keeps warm.
func TestRevisionHasAFallback(t *testing.T) {
	rev := revision(t, func(f *faas.Function, _ *faas.Image) {
		f.Sandbox, f.Fallback, f.MinInstances = "nanos", "linux", 2
		f.VM = &faas.VM{VMM: "firecracker", NetworkRate: 5, Hypervisor: map[string]any{"cpu-config": "/x"}}
	})
	f := rev.Fallback
	if f == nil {
		t.Fatal("it has none")
	}
	if f.Function.Sandbox != "linux" || f.Function.Fallback != "" || f.Function.MinInstances != 0 || f.Fallback != nil {
		t.Errorf("it is %+v", f.Function)
	}
	if vm := f.Function.VM; vm.VMM != "firecracker" || vm.NetworkRate != 5 || vm.Hypervisor != nil {
		t.Errorf("its machine is %+v", vm)
	}
	if f.Function.Ref != rev.Function.Ref || f.Image.Digest != rev.Image.Digest || f.Digest == rev.Digest {
		t.Errorf("it is %v of image %q, for %v of %q", f, f.Image.Digest, rev, rev.Image.Digest)
	}
	inGVisor := revision(t, func(f *faas.Function, _ *faas.Image) {
		f.Sandbox, f.Fallback, f.VM = "osv", "gvisor", &faas.VM{VMM: "qemu"}
	}).Fallback
	if inGVisor.Function.VM != nil {
		t.Errorf("gVisor is told of a machine: %+v", inGVisor.Function.VM)
	}

	// An image in Docker's store can be read by Docker alone.
	fn := defaults()
	fn.Sandbox, fn.Fallback = "docker", "gvisor"
	_, err := catalog.NewRevision(fn, faas.Image{Digest: "sha256:1", Kept: "sha256:2"})
	if faas.KindOf(err) != faas.KindInvalid || !strings.Contains(err.Error(), `fallback = "gvisor"`) {
		t.Errorf("an image that is kept elsewhere: %v", err)
	}
}
