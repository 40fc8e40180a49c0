package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"time"
)

// This file holds all that the program knows of dhstore.

// startDHStore serves the records in dir with the defaults: a log, which it does not wait for.
func startDHStore(ctx context.Context, dir string) (*server, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	metrics, err := freeAddress()
	if err != nil {
		return nil, err
	}
	s, err := spawn(nil, []string{"GOLOG_LOG_LEVEL=error"}, toolPath(sysDHStore), "-storePath", dir, "-listenAddr", addr, "-metricsAddr", metrics)
	if err != nil {
		return nil, err
	}
	s.addr = addr
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	return s, answers(ctx, s, "/ready")
}

// interrupt ends a server by SIGINT, the only signal that dhstore ends well by.
func interrupt(s *server) error {
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return err
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(2 * time.Minute):
		s.stop()
		return errors.New("the server did not end")
	}
}

// answers waits until a GET of path is answered 200.
func answers(ctx context.Context, s *server, path string) error {
	c := newClient()
	defer c.CloseIdleConnections()
	for limit := time.Now().Add(time.Minute); ; {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+path, nil)
		if err != nil {
			return err
		}
		res, err := c.Do(req)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(res.Status)
		}
		if time.Now().After(limit) || ctx.Err() != nil {
			return fmt.Errorf("%s%s: %w: %s", s.addr, path, err, s.log)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
