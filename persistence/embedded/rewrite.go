package embedded

import (
	"errors"
	"path/filepath"

	"tempestd/persistence/embedded/disk"
	"tempestd/persistence/embedded/segment"
)

// rewrite replaces a segment by its good part: its good blocks unchanged, and rows for the lost
// entries between them.
func (r *repairer) rewrite(dir, stream string, n *inspection) error {
	path := filepath.Join(r.dir, n.name)
	in, err := r.files.Open(path, disk.Read)
	if err != nil {
		return err
	}
	defer in.Close()
	return r.replace(dir, path, func(out disk.File) error {
		header := n.header
		header.Stream, header.Number, header.First = stream, n.number, n.first
		w := &rewriting{out: out, trailer: segment.Trailer{Number: n.number, End: n.end}}
		if err := w.write(segment.AppendHeader(nil, &header)); err != nil {
			return err
		}
		for i := range n.parts {
			if err := w.part(in, &n.parts[i]); err != nil {
				return err
			}
		}
		return w.end()
	})
}

// placeholder writes a segment that contains only a row for the lost entries.
func (r *repairer) placeholder(dir, stream string, m missing) error {
	return r.replace(dir, filepath.Join(dir, segmentName(m.number)), func(out disk.File) error {
		w := &rewriting{out: out, trailer: segment.Trailer{Number: m.number, End: m.to}, rows: []segment.Row{holeRow(m.from, m.to)}}
		if err := w.write(segment.AppendHeader(nil, &segment.Header{Stream: stream, Number: m.number, Start: m.from})); err != nil {
			return err
		}
		return w.end()
	})
}

// replace replaces the file at path by the file that fill writes.
func (r *repairer) replace(dir, path string, fill func(disk.File) error) error {
	if err := r.files.MakeDir(dir); err != nil {
		return err
	}
	temporary := path + disk.TemporarySuffix
	out, err := r.files.Open(temporary, disk.Create)
	if err != nil {
		return err
	}
	err = out.Truncate(0)
	if err == nil {
		err = fill(out)
	}
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = r.files.Rename(temporary, path)
	}
	if err != nil {
		return errors.Join(err, ignoreNotExist(r.files.Unlink(temporary)))
	}
	return r.files.SyncDir(dir)
}

// rewriting is a segment that is being rewritten.
type rewriting struct {
	out     disk.File
	off     int64
	rows    []segment.Row
	trailer segment.Trailer
	timed   bool
}

func (w *rewriting) write(b []byte) error {
	_, err := w.out.WriteAt(b, w.off)
	w.off += int64(len(b))
	return err
}

// part adds a block, or a row for lost entries.
func (w *rewriting) part(in disk.File, p *part) error {
	if p.hole {
		if p.entries() > 0 {
			w.rows = append(w.rows, holeRow(p.from, p.to))
		}
		return nil
	}
	h := &p.head
	b := make([]byte, p.len)
	if err := readAt(in, b[:h.HeadLen+h.BodyLen], p.off); err != nil {
		return err
	}
	moved := *p
	moved.off = w.off
	if h.Count > 0 {
		w.rows = append(w.rows, rowOf(&moved))
		if !w.timed {
			w.trailer.MinUS, w.trailer.MaxUS, w.timed = h.MinUS, h.MaxUS, true
		}
		w.trailer.MinUS, w.trailer.MaxUS = min(w.trailer.MinUS, h.MinUS), max(w.trailer.MaxUS, h.MaxUS)
	}
	if !h.More {
		w.trailer.StateOff, w.trailer.StateHead = w.off, h.HeadLen
	}
	return w.write(b)
}

func (w *rewriting) end() error { return w.write(segment.AppendFooter(nil, w.off, w.rows, &w.trailer)) }
