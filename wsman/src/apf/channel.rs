//! One forwarded connection: its windows, its unsent bytes, and where it is in opening and closing.

use std::collections::VecDeque;

use zeroize::Zeroizing;

use super::{ApfError, message::DATA_HEADER};

/// A channel of ours. Numbers: `local` is how AMT addresses us, `remote` is how we address AMT.
pub(super) struct Channel {
    pub(super) local: u32,
    pub(super) phase: Phase,
    /// What AMT still accepts.
    transmit_window: u32,
    /// What we still accept; credited back as data comes in.
    receive_window: u32,
    /// Not yet sent: whole writes of the caller, the first one partly sent.
    unsent: VecDeque<Zeroizing<Vec<u8>>>,
    sent_of_first: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// CHANNEL_OPEN is out; no answer yet.
    Opening,
    /// As `Opening`, but the caller no longer wants it: close as soon as it is confirmed, or the slot leaks.
    Abandoned,
    Open {
        remote: u32,
    },
    /// Our CLOSE is out, AMT's is not here: the slot is still taken.
    Closing,
}

impl Channel {
    pub(super) fn new(local: u32, receive_window: u32) -> Self {
        Self {
            local,
            phase: Phase::Opening,
            transmit_window: 0,
            receive_window,
            unsent: VecDeque::new(),
            sent_of_first: 0,
        }
    }

    pub(super) fn queue(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.unsent.push_back(Zeroizing::new(bytes.to_vec()));
        }
    }

    pub(super) fn unsent(&self) -> usize {
        self.unsent.iter().map(|bytes| bytes.len()).sum::<usize>() - self.sent_of_first
    }

    pub(super) fn drop_unsent(&mut self) {
        self.unsent.clear();
        self.sent_of_first = 0;
    }

    /// The next piece that both AMT's window and the MEI message limit allow, or nothing.
    pub(super) fn next_piece(&mut self, max_message: usize) -> Option<Vec<u8>> {
        let room = usize::try_from(self.transmit_window).unwrap_or(usize::MAX);
        let first = self.unsent.front()?;
        let rest = first.get(self.sent_of_first..)?;
        let piece = rest.get(..rest.len().min(room).min(max_message.checked_sub(DATA_HEADER)?))?;
        if piece.is_empty() {
            return None;
        }
        let piece = piece.to_vec();
        self.transmit_window =
            self.transmit_window.saturating_sub(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        self.sent_of_first += piece.len();
        if self.sent_of_first == first.len() {
            self.unsent.pop_front();
            self.sent_of_first = 0;
        }
        Some(piece)
    }

    pub(super) fn grant(&mut self, bytes: u32) -> Result<(), ApfError> {
        let violated = ApfError::WindowViolated { channel: self.local };
        self.transmit_window = self.transmit_window.checked_add(bytes).ok_or(violated)?;
        Ok(())
    }

    /// Takes `length` received bytes out of our window; the caller credits them back at once or never.
    pub(super) fn consume(&mut self, length: usize) -> Result<u32, ApfError> {
        let violated = ApfError::WindowViolated { channel: self.local };
        let length = u32::try_from(length).map_err(|_| violated)?;
        self.receive_window = self.receive_window.checked_sub(length).ok_or(violated)?;
        Ok(length)
    }

    pub(super) fn credit(&mut self, length: u32) {
        self.receive_window += length;
    }
}
