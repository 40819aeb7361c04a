package image

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

type sysStat = syscall.Stat_t

// convertStat turns what package os gives into what package unix gives; both
// are the kernel's struct stat.
func convertStat(st *sysStat) *unix.Stat_t {
	return &unix.Stat_t{
		Dev: st.Dev, Ino: st.Ino, Mode: st.Mode, Uid: st.Uid, Gid: st.Gid, Size: st.Size,
		Mtim: unix.Timespec{Sec: st.Mtim.Sec, Nsec: st.Mtim.Nsec},
		Ctim: unix.Timespec{Sec: st.Ctim.Sec, Nsec: st.Ctim.Nsec},
	}
}

// isPseudo reports whether dir is on a file system that the kernel makes up,
// as a root file system that is in use has them mounted. Their content is no
// part of an image. The numbers are those of statfs(2).
func isPseudo(dir *os.Root) (bool, error) {
	f, err := dir.Open(".")
	if err != nil {
		return false, err
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return false, err
	}
	switch int64(st.Type) {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEVPTS_SUPER_MAGIC, unix.CGROUP_SUPER_MAGIC,
		unix.CGROUP2_SUPER_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC,
		unix.BPF_FS_MAGIC, unix.EFIVARFS_MAGIC, unix.PSTOREFS_MAGIC:
		return true, nil
	}
	return false, nil
}
