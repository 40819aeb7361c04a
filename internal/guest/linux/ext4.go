package linux

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"

	"github.com/unifaas/unifaas/internal/image/archive"
)

// writeExt4 writes the tree below dir to w as a file system that is only read:
// it has no journal and no room.
func writeExt4(ctx context.Context, w *os.File, dir string, opts archive.Options) error {
	r, pipe := io.Pipe()
	written := make(chan error, 1)
	go func() {
		out := bufio.NewWriterSize(pipe, 64<<10)
		err := archive.Tar(ctx, out, dir, opts)
		if err == nil {
			err = out.Flush()
		}
		_ = pipe.CloseWithError(err) // nil ends the stream
		written <- err
	}()
	err := tar2ext4.ConvertTarToExt4(r, w)
	_ = r.CloseWithError(errors.New("nobody reads any more"))
	if told := <-written; err != nil {
		return errors.Join(err, told)
	}
	return nil
}
