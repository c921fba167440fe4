//! What many values repeat, kept once: the namespaces, nodes and labels of a mesh's Pods are few, and each is read as often as
//! there are Pods. What was read last is remembered, in bounded space; who reads the same again shares it.

use std::cell::RefCell;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::sync::Arc;

/// How much is remembered of each sort, on each thread. Objects that repeat each other are listed near each other.
const REMEMBERED: usize = 1 << 12;

thread_local! {
    static TEXTS: Recent<str> = const { Recent::new() };
}

/// A text that others may have too.
pub fn text(text: &str) -> Arc<str> {
    TEXTS.with(|recent| recent.share(text))
}

/// The last values that were read, each at the place that follows from it.
#[derive(Debug)]
pub struct Recent<T: ?Sized>(RefCell<Vec<Option<Arc<T>>>>);

impl<T: ?Sized> Recent<T> {
    pub const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }
}

impl<T: ?Sized> Default for Recent<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: ?Sized + Eq + Hash> Recent<T> {
    pub fn share<'v>(&self, value: &'v T) -> Arc<T>
    where
        Arc<T>: From<&'v T>,
    {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(value);
        let mut places = self.0.borrow_mut();
        places.resize(REMEMBERED, None);
        let place = &mut places[hash as usize % REMEMBERED];
        match place {
            Some(known) if **known == *value => Arc::clone(known),
            _ => Arc::clone(place.insert(Arc::from(value))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_texts_are_kept_once() {
        assert!(Arc::ptr_eq(&text("shop"), &text("shop")));
        assert_eq!((&*text("shop"), &*text("cart")), ("shop", "cart"));
    }

    #[test]
    fn shared_texts_are_right_when_more_are_read_than_are_remembered() {
        let names = || (0..3 * REMEMBERED).map(|i| i.to_string());
        let texts: Vec<Arc<str>> = names().map(|name| text(&name)).collect();
        assert!(texts.iter().zip(names()).all(|(text, name)| **text == *name));
    }
}
