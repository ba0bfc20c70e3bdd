//! Hexadecimal digits for the fields that every answer has: several times faster than `format!`.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Returns the sixteen digits of a number, in lower case.
pub(in crate::worker) fn digits(number: u64) -> [u8; 16] {
    let mut text = [0; 16];
    for (pair, byte) in text.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    text
}

/// Returns the thirty-two digits of a hash.
pub(in crate::worker) fn hash(hash: u128) -> [u8; 32] {
    let mut text = [0; 32];
    for (digits, half) in text.chunks_exact_mut(16).zip([hash >> 64, hash & u128::from(u64::MAX)]) {
        digits.copy_from_slice(&self::digits(u64::try_from(half).unwrap_or_default()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_standard_library() {
        for number in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(String::from_utf8_lossy(&digits(number)), format!("{number:016x}"));
        }
        for number in [0, 1, 0x0123_4567_89ab_cdef_0011_2233_4455_6677, u128::MAX] {
            assert_eq!(String::from_utf8_lossy(&hash(number)), format!("{number:032x}"));
        }
    }
}
