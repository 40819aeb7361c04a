package setup

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox/container/script"
)

const (
	noSuid = unix.MOUNT_ATTR_NOSUID
	noDev  = unix.MOUNT_ATTR_NODEV
	noExec = unix.MOUNT_ATTR_NOEXEC
	frozen = unix.MOUNT_ATTR_RDONLY
)

// here is the folder that relative paths are below: none of ours are.
const here = ^uint64(99) // AT_FDCWD, -100

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// lookUp opens a path below root, through no link of any kind.
func (w *writer) lookUp(result, root uint8, path string, flags uint64) {
	how := w.Words(unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW|flags, 0,
		unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS)
	w.CallTo(result, unix.SYS_OPENAT2, script.Reg(root), w.String(path).Arg(), how.Arg(), script.Number(unix.SizeofOpenHow))
}

// mount makes a file system and attaches it to a folder below root. options
// are pairs of a name and a value. The mount remains in result, where one can
// look inside.
func (w *writer) mount(result, root uint8, kind, path string, attributes uint64, options ...string) {
	w.Step("mount /" + path)
	w.create(result, kind, attributes, options...)
	w.Step("find the mount point /" + path + " of the image, which must be a folder")
	w.lookUp(rTarget, root, path, 0)
	w.Step("mount /" + path)
	w.attach(result)
}

// create makes a file system that is not attached anywhere yet.
func (w *writer) create(result uint8, kind string, attributes uint64, options ...string) {
	w.CallTo(r0, unix.SYS_FSOPEN, w.String(kind).Arg(), script.Number(unix.FSOPEN_CLOEXEC))
	for i := 0; i < len(options); i += 2 {
		w.Call(unix.SYS_FSCONFIG, script.Reg(r0), script.Number(unix.FSCONFIG_SET_STRING),
			w.String(options[i]).Arg(), w.String(options[i+1]).Arg(), number(0))
	}
	w.Call(unix.SYS_FSCONFIG, script.Reg(r0), script.Number(unix.FSCONFIG_CMD_CREATE))
	w.CallTo(result, unix.SYS_FSMOUNT, script.Reg(r0), script.Number(unix.FSMOUNT_CLOEXEC), number(attributes))
}

// clone makes another mount of what is at path, not attached anywhere yet.
func (w *writer) clone(result uint8, dir script.Arg, path string, flags uint64) {
	w.CallTo(result, unix.SYS_OPEN_TREE, dir, w.String(path).Arg(),
		number(flags|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH))
}

// restrict adds attributes to a mount.
func (w *writer) restrict(mount uint8, flags, attributes uint64) {
	attr := w.Words(attributes, 0, 0, 0)
	w.Call(unix.SYS_MOUNT_SETATTR, script.Reg(mount), w.String("").Arg(), number(flags|unix.AT_EMPTY_PATH), attr.Arg(), script.Number(unix.MOUNT_ATTR_SIZE_VER0))
}

// attach puts a mount on top of what was looked up last, rTarget.
func (w *writer) attach(mount uint8) {
	empty := w.String("").Arg()
	w.Call(unix.SYS_MOVE_MOUNT, script.Reg(mount), empty, script.Reg(rTarget), empty,
		number(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}
