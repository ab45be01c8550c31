"""Go's words about a module that cannot be had, as one sentence with the module's name."""

from threezone.toolchain.go_errors import LINES, not_fetched

REFUSED = """go: downloading github.com/fluxcd/pkg/artifact v0.18.3
main.go:40:2: github.com/fluxcd/pkg/artifact@v0.18.3: reading https://proxy.example/@v/v0.18.3.zip: 403 Forbidden
\tserver response: This module version is not available.
"""
BY_TLS = "go: a@v1.0.0: Get: tls: failed to verify certificate: x509: certificate signed by unknown authority\n"


def test_the_missing_module_is_named_with_gos_words() -> None:
    error = not_fetched("source-controller", "v1.9.5", REFUSED * 9)
    assert error.message.startswith("source-controller v1.9.5 cannot be built: ")
    assert error.message.endswith("does not give github.com/fluxcd/pkg/artifact@v0.18.3")
    evidence = (error.evidence or "").splitlines()
    assert len(evidence) == LINES
    assert "403 Forbidden" in evidence[0]
    assert "--channel release" in (error.fix or "")


def test_a_failure_of_tls_has_its_own_advice_and_other_words_are_kept() -> None:
    assert "threezone.network.ca" in (not_fetched("flux", "v2.9.5", BY_TLS).fix or "")
    other = not_fetched("flux", "v2.9.5", "go: go.mod requires go >= 1.99\n")
    assert "could not be fetched" in other.message
    assert other.evidence == "go: go.mod requires go >= 1.99"
