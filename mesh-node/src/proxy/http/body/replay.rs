//! A request's body that can be sent again: what of it has been read is kept, up to a bound, and each try reads that first.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::{Body, BodyError, Content};

/// A request of which more has been read is sent no more: a proxy is no place to store uploads.
const MAX_KEPT: usize = 64 << 10;

/// Hands out the body of one request, to one try after another.
#[derive(Debug)]
pub(in crate::proxy::http) struct Replay(Rc<RefCell<Kept>>);

#[derive(Debug)]
struct Kept {
    body: Body,
    length: SizeHint,
    read: Vec<Bytes>,
    bytes: usize,
    /// Something has been read that is not kept, or could not be read.
    lost: bool,
    /// The number of the last try; earlier ones may still hold their body, and must not take what is the last one's.
    tries: usize,
}

/// The body as one try reads it.
#[derive(Debug)]
pub(super) struct Reading {
    kept: Rc<RefCell<Kept>>,
    of_try: usize,
    next: usize,
}

impl Replay {
    pub(in crate::proxy::http) fn new(body: Body) -> Self {
        let length = body.size_hint();
        let kept = Kept { body, length, read: Vec::new(), bytes: 0, lost: false, tries: 0 };
        Self(Rc::new(RefCell::new(kept)))
    }

    /// The body from its beginning.
    pub(in crate::proxy::http) fn body(&self) -> Body {
        let mut kept = self.0.borrow_mut();
        kept.tries += 1;
        let reading = Reading { kept: self.0.clone(), of_try: kept.tries, next: 0 };
        Body { content: Content::Reading(reading), held: None }
    }

    /// Whether another try could read all of it.
    pub(in crate::proxy::http) fn is_whole(&self) -> bool {
        !self.0.borrow().lost
    }
}

impl Reading {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut kept = self.kept.borrow_mut();
        if kept.tries != self.of_try {
            return Poll::Ready(Some(Err(BodyError::SentAgain)));
        }
        if let Some(bytes) = kept.read.get(self.next) {
            self.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(bytes.clone()))));
        }
        let frame = std::pin::Pin::new(&mut kept.body).poll_frame(cx);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                self.next += 1;
                kept.keep(frame.data_ref());
            }
            Poll::Ready(Some(Err(_))) => kept.lost = true,
            Poll::Ready(None) | Poll::Pending => {}
        }
        frame
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let kept = self.kept.borrow();
        self.next >= kept.read.len() && kept.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.kept.borrow().length
    }
}

impl Kept {
    /// Trailers are not kept: they end a body that nobody could send again without them.
    fn keep(&mut self, data: Option<&Bytes>) {
        match data.filter(|bytes| !self.lost && self.bytes + bytes.len() <= MAX_KEPT) {
            Some(bytes) => {
                self.bytes += bytes.len();
                self.read.push(bytes.clone());
            }
            None => {
                self.lost = true;
                self.read.clear();
            }
        }
    }
}
