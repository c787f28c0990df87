module verify_assertions

go 1.21

require (
	github.com/MicahParks/keyfunc/v3 v3.3.11
	github.com/golang-jwt/jwt/v5 v5.3.0
)

require (
	github.com/MicahParks/jwkset v0.8.0 // indirect
	golang.org/x/time v0.9.0 // indirect
)
