package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/image"
)

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(0, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
func mem() string {
	b, _ := os.ReadFile("/proc/self/status")
	var o []string
	for _, l := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(l, "VmRSS") || strings.HasPrefix(l, "RssAnon") {
			o = append(o, strings.Fields(l)[1])
		}
	}
	return strings.Join(o, " ")
}
func main() {
	d, _ := os.MkdirTemp("", "zz")
	defer os.RemoveAll(d)
	bin := os.Args[1]
	for i := range 1000 {
		os.MkdirAll(fmt.Sprintf("%s/f/f%d", d, i), 0o755)
		os.WriteFile(fmt.Sprintf("%s/f/f%d/function.toml", d, i), []byte("image = \"file:"+bin+"\"\n[env]\nA=\""+fmt.Sprint(i)+"\"\n"), 0o644)
	}
	fmt.Println("before", mem())
	st, _ := image.Open(d+"/store", image.Options{})
	src, _ := catalog.NewFolder(catalog.FolderOptions{Dir: d + "/f", Sandboxes: []string{"gvisor"}, Inputs: st.Inputs, Rescan: time.Second})
	c := catalog.New(catalog.Options{Source: src, Images: st})
	t := time.Now()
	c0 := cpu()
	if err := c.Start(context.Background()); err != nil {
		panic(err)
	}
	fmt.Println("start", time.Since(t), "cpu", cpu()-c0, "mem", mem(), len(c.Snapshot().Revisions()))
	c0 = cpu()
	time.Sleep(5 * time.Second)
	fmt.Println("cpu per rescan", (cpu()-c0)/5, "mem", mem())
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Println("heap", m.HeapAlloc>>10, "KiB")
	c.Stop()
	_ = exec.Command
}
