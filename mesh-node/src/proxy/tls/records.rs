//! The records of TLS 1.3 once a handshake is done (RFC 8446, section 5): many of them sealed into one buffer, each opened
//! where it lies.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use bytes::{BufMut, BytesMut};
use rustls::crypto::cipher::{self, InboundOpaqueMessage, Iv, MessageDecrypter, make_tls13_aad};
use rustls::{
    ConnectionTrafficSecrets, ContentType, Error, InvalidMessage, ProtocolVersion, SupportedCipherSuite,
};

/// The most that one record carries.
pub(super) const FRAGMENT: usize = 1 << 14;
/// Type, version and length.
pub(super) const HEADER: usize = 5;
/// What each record is longer than what it carries: header, type and tag.
pub(super) const OVERHEAD: usize = HEADER + 1 + TAG;
/// Records sealed with one key. After 2^24.5 of them AES-GCM would begin to tell something (RFC 8446, section 5.5).
const MOST_OF_A_KEY: u64 = 1 << 23;

const TAG: usize = 16;
/// The most that a record may be longer than what it carries (RFC 8446, section 5.2).
const EXPANSION: usize = 256;

/// The key for what is sent.
pub(super) struct Sealer {
    key: LessSafeKey,
    iv: Iv,
    sequence: u64,
    /// Records that may still be sealed with this key, or few more.
    pub(super) left: u64,
}

impl Sealer {
    pub(super) fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self, Error> {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(unknown_algorithm()),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| unknown_algorithm())?;
        Ok(Self { key: LessSafeKey::new(key), iv, sequence, left: MOST_OF_A_KEY })
    }

    /// Whether the next records are better sealed with another key.
    pub(super) fn is_worn(&self) -> bool {
        self.left == 0
    }

    /// Seals what the slices hold, as if they were one, up to `most` bytes, and says how much that was.
    pub(super) fn seal<'b>(
        &mut self,
        kind: ContentType,
        slices: impl Iterator<Item = &'b [u8]>,
        most: usize,
        into: &mut BytesMut,
    ) -> Result<usize, Error> {
        let mut taken = 0;
        let mut record = begin(into);
        for slice in slices {
            let mut rest = &slice[..slice.len().min(most - taken)];
            while !rest.is_empty() {
                let room = FRAGMENT - (into.len() - record - HEADER);
                if room == 0 {
                    self.finish(kind, record, into)?;
                    record = begin(into);
                    continue;
                }
                let (now, later) = rest.split_at(rest.len().min(room));
                into.extend_from_slice(now);
                taken += now.len();
                rest = later;
            }
        }
        self.finish(kind, record, into)?;
        Ok(taken)
    }

    /// Seals what follows the header at `record`.
    fn finish(&mut self, kind: ContentType, record: usize, into: &mut BytesMut) -> Result<(), Error> {
        into.put_u8(kind.into());
        let (header, plaintext) = into[record..].split_at_mut(HEADER);
        let aad = make_tls13_aad(plaintext.len() + TAG);
        header.copy_from_slice(&aad);
        let nonce = Nonce::assume_unique_for_key(cipher::Nonce::new(&self.iv, self.sequence).0);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(aad), plaintext);
        let tag = tag.map_err(|_| Error::EncryptError)?;
        into.extend_from_slice(tag.as_ref());
        self.sequence += 1;
        self.left = self.left.saturating_sub(1);
        Ok(())
    }
}

fn begin(into: &mut BytesMut) -> usize {
    let record = into.len();
    into.put_bytes(0, HEADER);
    record
}

/// The key for what is received.
pub(super) struct Opener {
    key: Box<dyn MessageDecrypter>,
    sequence: u64,
}

impl Opener {
    pub(super) fn new(
        suite: SupportedCipherSuite,
        (sequence, secrets): (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, Error> {
        let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets
        else {
            return Err(unknown_algorithm());
        };
        let suite = suite.tls13().ok_or_else(unknown_algorithm)?;
        Ok(Self { key: suite.aead_alg.decrypter(key, iv), sequence })
    }

    /// Opens a whole record in its place: what it is of, and what it carries, which begins behind the header.
    pub(super) fn open<'r>(&mut self, record: &'r mut [u8]) -> Result<(ContentType, &'r [u8]), Error> {
        let message = InboundOpaqueMessage::new(
            ContentType::ApplicationData,
            ProtocolVersion::TLSv1_2,
            &mut record[HEADER..],
        );
        let plain = self.key.decrypt(message, self.sequence)?;
        self.sequence += 1;
        Ok((plain.typ, plain.payload))
    }
}

/// How long the record is that these bytes begin with.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let header = bytes.get(..HEADER)?;
    Some(HEADER + usize::from(u16::from_be_bytes([header[3], header[4]])))
}

/// As [`length`]; an error where it cannot be a sealed record.
pub(super) fn sealed_length(bytes: &[u8]) -> Result<Option<usize>, Error> {
    let Some(length) = length(bytes) else { return Ok(None) };
    // The tag covers the version too, as it must be.
    if bytes[1..3] != [3, 3] {
        return Err(InvalidMessage::UnknownProtocolVersion.into());
    }
    match ContentType::from(bytes[0]) {
        ContentType::ApplicationData if length > HEADER + FRAGMENT + EXPANSION => {
            Err(Error::PeerSentOversizedRecord)
        }
        ContentType::ApplicationData => Ok(Some(length)),
        other => Err(Error::InappropriateMessage {
            expect_types: vec![ContentType::ApplicationData],
            got_type: other,
        }),
    }
}

fn unknown_algorithm() -> Error {
    InvalidMessage::UnexpectedMessage("a cipher suite of TLS 1.3 was expected").into()
}
