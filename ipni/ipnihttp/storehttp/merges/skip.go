package merges

// skip consumes a value of any kind and size.
func (s *scanner) skip(depth int) error {
	if depth > maxDepth {
		return s.wrong("values are nested too deeply")
	}
	c, err := s.peek()
	if err != nil {
		return s.ended(err)
	}
	switch c {
	case '{', '[':
		s.pos++
		return s.skipList(c, depth)
	case '"':
		s.pos++
		return s.skipString()
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	return s.skipNumber()
}

// skipList consumes the rest of an object or an array.
func (s *scanner) skipList(opening byte, depth int) error {
	closing := opening + 2 // of both pairs, in ASCII
	if done, err := s.empty(closing); err != nil || done {
		return err
	}
	for {
		if opening == '{' {
			if err := s.expect('"'); err != nil {
				return err
			}
			if err := s.skipString(); err != nil {
				return err
			}
			if err := s.expect(':'); err != nil {
				return err
			}
		}
		if err := s.skip(depth + 1); err != nil {
			return err
		}
		if more, err := s.more(closing); err != nil || !more {
			return err
		}
	}
}

// skipString consumes the rest of a string.
func (s *scanner) skipString() error {
	for {
		c, err := s.next()
		switch {
		case err != nil:
			return err
		case c == '"':
			return nil
		case c < ' ':
			return s.wrong("a control character in a string")
		case c == '\\':
			s.text = s.text[:0]
			if err := s.escape(); err != nil {
				return err
			}
		}
	}
}

// skipNumber consumes a number: an integer without leading zeros, a fraction, an exponent.
func (s *scanner) skipNumber() error {
	s.accept("-")
	if !s.accept("0") && s.digits() == 0 {
		return s.wrong("no value")
	}
	if s.accept(".") && s.digits() == 0 {
		return s.wrong("a fraction without digits")
	}
	if s.accept("eE") {
		s.accept("+-")
		if s.digits() == 0 {
			return s.wrong("an exponent without digits")
		}
	}
	return nil
}

// accept consumes one of chars, if it comes. A failed read is seen by the next one.
func (s *scanner) accept(chars string) bool {
	if s.pos == s.end && s.fill() != nil {
		return false
	}
	for i := range len(chars) {
		if s.buf[s.pos] == chars[i] {
			s.pos++
			return true
		}
	}
	return false
}

func (s *scanner) digits() (n int) {
	for s.accept("0123456789") {
		n++
	}
	return n
}
