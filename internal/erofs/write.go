package erofs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxImage keeps block numbers within their 32 bits.
const maxImage = int64(1) << 43

// Write writes an image of the tree below dir to w, from w's beginning. No
// symbolic link of the tree is followed, and nothing outside dir is read. The
// tree must not change meanwhile; a file that does is an error. ctx is asked
// between files.
func Write(ctx context.Context, w *os.File, dir string, opts Options) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	s, err := newScan(root, opts)
	if err != nil {
		return fmt.Errorf("read tree %q: %w", dir, err)
	}
	blocks := s.layout()
	if blocks*BlockSize > maxImage {
		return fmt.Errorf("tree %q is too large for an image: %d blocks", dir, blocks)
	}
	if err := s.writeMeta(w, blocks); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	for _, n := range s.nodes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.writeData(w, n); err != nil {
			return fmt.Errorf("write %q to image: %w", n.path, err)
		}
	}
	return w.Truncate(blocks * BlockSize)
}

// layout gives every node its data blocks and returns the image's length in
// blocks.
func (s *scan) layout() int64 {
	next := metaBlock + blocksFor(int64(len(s.nodes))*inodeSize)
	for _, n := range s.nodes {
		n.block = next
		next += blocksFor(n.size)
	}
	return next
}

func (s *scan) writeMeta(w io.WriterAt, blocks int64) error {
	if _, err := w.WriteAt(superBlock(int64(len(s.nodes)), blocks), superOffset); err != nil {
		return err
	}
	out := bufio.NewWriterSize(io.NewOffsetWriter(w, metaBlock*BlockSize), 64<<10)
	for _, n := range s.nodes {
		var b [inodeSize]byte
		n.encode(b[:])
		if _, err := out.Write(b[:]); err != nil {
			return err
		}
	}
	return out.Flush()
}

func (s *scan) writeData(w *os.File, n *node) error {
	offset := n.block * BlockSize
	switch n.mode & unix.S_IFMT {
	case unix.S_IFDIR:
		_, err := w.WriteAt(directoryData(n), offset)
		return err
	case unix.S_IFLNK:
		_, err := w.WriteAt([]byte(n.target), offset)
		return err
	case unix.S_IFREG:
		return s.copyFile(w, n, offset)
	}
	return nil
}

// copyFile copies n's content to offset of w. Seeking and copying, rather than
// reading and writing at an offset, lets the kernel copy, or share the blocks
// where the file system can.
func (s *scan) copyFile(w *os.File, n *node, offset int64) error {
	if n.size == 0 {
		return nil
	}
	f, err := s.root.OpenFile(n.path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() != n.size {
		return errors.Join(err, errors.New("the file changed while it was read"))
	}
	if _, err := w.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	copied, err := io.Copy(w, io.LimitReader(f, n.size))
	if err == nil && copied != n.size {
		err = errors.New("the file changed while it was read")
	}
	return err
}
