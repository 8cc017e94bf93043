//! Who waits for which key, in the order of arrival.

use std::collections::{BTreeSet, HashMap, VecDeque};

/// Clients by the keys that they wait for, and by the time when they give up.
#[derive(Default)]
pub struct Waiters {
    by_key: HashMap<Vec<u8>, VecDeque<usize>>,
    deadlines: BTreeSet<(u64, usize)>,
}

impl Waiters {
    pub fn add(&mut self, client: usize, keys: &[Vec<u8>], deadline_ms: Option<u64>) {
        for key in keys {
            let queue = self.by_key.entry(key.clone()).or_default();
            if !queue.contains(&client) {
                queue.push_back(client);
            }
        }
        if let Some(at) = deadline_ms {
            self.deadlines.insert((at, client));
        }
    }

    pub fn remove(&mut self, client: usize, keys: &[Vec<u8>], deadline_ms: Option<u64>) {
        for key in keys {
            if let Some(queue) = self.by_key.get_mut(key) {
                queue.retain(|waiting| *waiting != client);
                if queue.is_empty() {
                    self.by_key.remove(key);
                }
            }
        }
        if let Some(at) = deadline_ms {
            self.deadlines.remove(&(at, client));
        }
    }

    /// Who waits for `key`, longest first.
    #[must_use]
    pub fn on(&self, key: &[u8]) -> Vec<usize> {
        self.by_key.get(key).map(|queue| queue.iter().copied().collect()).unwrap_or_default()
    }

    /// Whose time is up at `now_ms`.
    #[must_use]
    pub fn due(&self, now_ms: u64) -> Vec<usize> {
        self.deadlines.iter().take_while(|(at, _)| *at <= now_ms).map(|(_, client)| *client).collect()
    }

    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_leaves_every_queue() {
        let mut waiters = Waiters::default();
        let keys = [b"a".to_vec(), b"b".to_vec()];
        waiters.add(1, &keys, Some(50));
        waiters.add(2, &keys[..1], None);
        assert_eq!((waiters.on(b"a"), waiters.due(49), waiters.due(50)), (vec![1, 2], vec![], vec![1]));
        waiters.remove(1, &keys, Some(50));
        assert_eq!((waiters.on(b"a"), waiters.on(b"b"), waiters.next_deadline_ms()), (vec![2], vec![], None));
    }
}
