package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/unifaas/unifaas/internal/guest/nanos/disk"
	"github.com/unifaas/unifaas/internal/guest/nanos/tfs"
)

func main() {
	f, err := os.Create(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	err = disk.Write(f, disk.Spec{Loader: "/tmp/nanos-assets/boot.img", Kernel: "/tmp/nanos-assets/kernel.img",
		Root: tfs.Options{Room: 4096, Free: 8 << 20, Attributes: tfs.Tuple{
			{Name: "program", Value: "/f"}, {Name: "arguments", Value: tfs.List("f")},
			{Name: "environment", Value: tfs.Tuple{{Name: "PORT", Value: "8080"}}},
		}},
		Fill: func(b *tfs.Builder, root tfs.Folder) error {
			return b.AddTree(context.Background(), root, tfs.Tree{Dir: os.Args[1], Directories: []string{"/tmp"}})
		}})
	if err != nil {
		log.Fatal(err)
	}
	info, _ := f.Stat()
	d, err := disk.Open(f, info.Size())
	if err != nil {
		log.Fatal(err)
	}
	err = d.Root.NewPatch().Apply(f, d.RootAt, tfs.Tuple{{Name: "en1", Value: tfs.Tuple{{Name: "ipaddr", Value: "10.0.2.15"}, {Name: "netmask", Value: "255.255.255.0"}, {Name: "gateway", Value: "10.0.2.2"}}}})
	fmt.Println(err, d.RootAt)
}
