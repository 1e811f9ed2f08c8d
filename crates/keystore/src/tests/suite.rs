//! What a station needs of a token, on every kind of token that the tests have: each case on each kind is a test of its own.
//!
//! A case returns whether the token works as it should, or what it cannot do and why; the latter is established by a call, never
//! assumed. `scripts/test.sh` prints the outcomes as a table.

mod administration;
mod curves;
mod isolated;
mod keys;
mod lost;
mod operations;
mod refusals;

use std::{fs, future::Future, path::PathBuf};

use super::support::{TestToken, TokenKind};
use crate::{Hash, KeyUsage, KeystoreError, NewKey, SignScheme, admin::generate_key, pkcs11::underneath::PinState};

/// The outcome of a case that did not fail.
enum Outcome {
    /// The token does it, and the keystore does what it promises.
    Works,
    /// The token lacks it, for this reason. The case has seen the refusal.
    Cannot(&'static str),
}

/// Runs a case on a new token without keys, and notes the outcome for the table.
fn run<F: Future<Output = Outcome>>(kind: TokenKind, capability: &str, case: impl FnOnce(TestToken) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let outcome = match runtime.block_on(case(TestToken::of(kind))) {
        Outcome::Works => "works".to_owned(),
        Outcome::Cannot(why) => format!("cannot: {why}"),
    };
    println!("{kind}: {capability}: {outcome}");
    note(&format!("{capability}\t{kind}\t{outcome}\n"));
}

/// Notes a line in the build's folder, in a file of this process: a runner keeps the words of a test that passes to itself.
fn note(line: &str) {
    use std::io::Write;
    let executable = std::env::current_exe().unwrap();
    // target/quick/deps/…
    let Some(target) = executable.ancestors().nth(3) else { return };
    let folder: PathBuf = target.join("tmp/token-suite");
    fs::create_dir_all(&folder).unwrap();
    let file = fs::File::options().create(true).append(true).open(folder.join(std::process::id().to_string()));
    file.unwrap().write_all(line.as_bytes()).unwrap();
}

macro_rules! on_every_token {
    ($($file:ident :: $case:ident => $capability:literal,)*) => {
        on_every_token! { @on softhsm SoftHsm, $($file::$case => $capability,)* }
        on_every_token! { @on nss Nss, $($file::$case => $capability,)* }
        on_every_token! { @on kryoptic Kryoptic #[ignore = "`make tokens` builds the token"], $($file::$case => $capability,)* }
        on_every_token! { @on tpm Tpm #[ignore = "`make tokens` unpacks the token"], $($file::$case => $capability,)* }
        on_every_token! { @on opencryptoki OpenCryptoki #[ignore = "`make tokens` runs its daemon"], $($file::$case => $capability,)* }
    };
    (@on $module:ident $kind:ident $(#[$ignored:meta])?, $($file:ident :: $case:ident => $capability:literal,)*) => {
        mod $module {
            on_every_token! { @tests $kind [$(#[$ignored])?] $($file::$case => $capability,)* }
        }
    };
    (@tests $kind:ident $ignored:tt $($file:ident :: $case:ident => $capability:literal,)*) => {
        $(on_every_token! { @test $kind $ignored $file::$case => $capability })*
    };
    (@test $kind:ident [$(#[$ignored:meta])?] $file:ident :: $case:ident => $capability:literal) => {
        #[test]
        $(#[$ignored])?
        fn $case() {
            super::run(super::TokenKind::$kind, $capability, super::$file::$case);
        }
    };
}

on_every_token! {
    operations::every_signature_scheme_works_and_counts_one_use => "sign with every scheme",
    operations::every_wrapping_scheme_works_and_counts_one_use => "unwrap with every scheme",
    operations::keys_of_3072_bits_sign_and_unwrap => "keys of 3072 bits",
    operations::sixty_mixed_calls_at_once_all_succeed => "many calls at once",
    operations::wrong_calls_are_told_what_is_wrong => "name what is wrong with a call",
    operations::one_key_under_two_labels_is_one_key_and_works_while_the_token_shows_either => "one key, two labels",
    refusals::everything_wrong_with_a_wrapped_key_looks_the_same => "one refusal for every wrong wrapped key",
    refusals::a_session_after_a_refusal_is_fit_for_use => "a usable session after a refusal",
    refusals::a_session_that_an_error_left_unusable_is_replaced => "a session that an error left unusable",
    refusals::without_raw_unwrapping_no_raw_rsa_is_used => "unwrap without raw RSA",
    refusals::without_raw_signing_no_raw_rsa_is_used => "sign without raw RSA",
    keys::a_key_is_tried_with_every_scheme_when_the_keystore_is_opened => "self-test of a key",
    keys::a_train_key_does_what_trains_need_and_not_v1_5 => "restrict a key to its schemes",
    keys::a_generated_key_cannot_leave_the_token => "keys that cannot leave the token",
    keys::a_generated_key_is_said_to_have_been_made_in_the_token => "tell which keys were made in the token",
    keys::a_key_of_the_audit_cannot_decrypt_says_the_token => "a key that never decrypts",
    keys::an_existing_key_is_never_replaced => "refuse a label that is taken",
    keys::a_destroyed_key_takes_its_public_half_and_no_other_key_with_it => "destroy a key",
    keys::an_imported_key_is_the_files_key_and_serves_as_a_generated_one => "import a key",
    keys::every_key_is_listed_with_what_the_token_says_of_it => "list keys",
    keys::a_key_of_a_type_that_is_not_used_is_named_and_listed => "name the type of another key",
    keys::two_keys_with_one_label_are_ambiguous => "two keys, one label",
    keys::of_two_keys_with_one_label_the_one_that_fits_the_usage_is_used => "two keys of two types, one label",
    curves::p_256_keys_sign => "ECDSA with P-256",
    curves::p_384_keys_sign => "ECDSA with P-384",
    curves::ed25519_keys_sign => "Ed25519",
    curves::a_curve_key_of_another_tool_signs => "a curve key of another tool",
    curves::a_key_without_a_scheme_for_its_usage_is_not_generated => "refuse a key without a use",
    lost::a_lost_login_is_renewed_once_for_all => "a lost login",
    lost::sessions_lost_underneath_are_opened_again => "lost sessions",
    lost::a_finalised_module_is_set_up_again => "a finalised module",
    lost::a_deleted_key_is_missed_and_its_successor_found => "a deleted key and its successor",
    lost::a_vanished_token_is_noticed_and_so_is_its_return => "a vanished token and its return",
    isolated::a_module_in_a_process_of_its_own_serves_and_is_replaced_when_it_is_killed => "a module in a process of its own",
    administration::a_token_is_initialised => "initialise a token",
    administration::a_user_pin_is_replaced_with_the_so_pin => "replace the user PIN",
    administration::a_user_pin_is_changed_with_itself => "change the user PIN",
    administration::a_wrong_pin_is_tried_once_and_a_corrected_one_works => "a wrong PIN is tried once",
    administration::a_token_that_warns_of_wrong_pins_gets_no_login => "no login while the token warns",
}

impl TestToken {
    /// Returns whether the token refuses an RSA key that signs and does not decrypt.
    fn makes_no_rsa_key_that_only_signs(&self) -> bool {
        if self.kind != TokenKind::Tpm {
            return false;
        }
        let usage = KeyUsage { sign: &[SignScheme::Pss(Hash::Sha256)], unwrap: &[] };
        let refused = generate_key(&self.access(), "only-signs", usage, NewKey::Rsa { bits: 2048 }).unwrap_err();
        assert!(matches!(&refused, KeystoreError::Fault { operation, .. } if operation == "C_GenerateKeyPair"), "{refused:?}");
        refused.hint().is_some_and(|hint| hint.contains("--type ec-p256"))
    }

    fn lacks_curves(&self) -> Outcome {
        assert!(matches!(self.kind, TokenKind::Tpm | TokenKind::OpenCryptoki));
        Outcome::Cannot("it has no such keys")
    }

    fn takes_no_private_keys(&self) -> Outcome {
        assert_eq!(self.kind, TokenKind::Tpm);
        Outcome::Cannot("it takes no private keys from outside")
    }
}

impl TokenKind {
    /// The numbers of wrong PINs after which the token reports a low count, the final try, and the lock.
    fn warns_after(self) -> Option<&'static [usize]> {
        match self {
            TokenKind::Kryoptic => Some(&[7, 9, 10]),
            TokenKind::OpenCryptoki => Some(&[1, 2, 3]),
            _ => None,
        }
    }

    /// Returns what a token does that does not lock its PIN. It was given 20 wrong ones, and warned of `last` only.
    fn lockout(self, last: PinState) -> Outcome {
        Outcome::Cannot(match (self, last) {
            (TokenKind::SoftHsm, PinState::CountLow) => "it warns of wrong PINs, then keeps no count: it never locks",
            (TokenKind::Tpm, PinState::Good) => {
                "it counts wrong PINs for the whole TPM and locks it, but warns of nothing: only the latch protects it"
            }
            (TokenKind::Nss, PinState::Good) => "it counts no wrong PINs",
            (kind, last) => panic!("{kind}: {last:?}"),
        })
    }
}
