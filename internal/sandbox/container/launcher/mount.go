package main

import (
	"strconv"

	"golang.org/x/sys/unix"
)

func shut(fd int) { _ = unix.Close(fd) }

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// lookUp opens a path below root, through no link of any kind.
func lookUp(root int, path string) (int, error) {
	return unix.Openat2(root, path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// mount makes a file system and attaches it to a folder below root. options
// are pairs of a name and a value. The result may be used to look inside.
func mount(root int, kind, path string, attributes int, options ...string) (int, error) {
	made, err := create(kind, attributes, options...)
	if err != nil {
		return -1, wrap("mount /"+path, err)
	}
	target, err := lookUp(root, path)
	if err != nil {
		return -1, wrap("find the mount point /"+path+" of the image, which must be a folder", err)
	}
	defer shut(target)
	return made, wrap("mount /"+path, attach(made, target))
}

// create makes a file system that is not attached anywhere yet.
func create(kind string, attributes int, options ...string) (int, error) {
	context, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer shut(context)
	for i := 0; i < len(options); i += 2 {
		if err := unix.FsconfigSetString(context, options[i], options[i+1]); err != nil {
			return -1, wrap(options[i], err)
		}
	}
	if err := unix.FsconfigCreate(context); err != nil {
		return -1, err
	}
	return unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, attributes)
}

// clone makes another mount of what is at path, not attached anywhere yet.
func clone(dir int, path string, flags uint) (int, error) {
	return unix.OpenTree(dir, path, flags|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
}

// restrict adds attributes to a mount.
func restrict(mount int, flags uint, attributes uint64) error {
	return unix.MountSetattr(mount, "", flags|unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: attributes})
}

// attach puts a mount on top of target.
func attach(mount, target int) error {
	return unix.MoveMount(mount, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}
