// Package extract asks a second, independent reader of the Bot API's updates what each fixture says, and holds the archive to it: extract.py
// was written after Telegram's documentation, in another language, and shares no code with the normaliser. The package holds tests alone.
package extract
