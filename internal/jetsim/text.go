package jetsim

import "strings"

// language is the language of a text.
type language int

const (
	english language = iota
	japanese
	portuguese
	german
	korean
	languageCount
)

// tag is the language's tag in a post.
func (l language) tag() string { return [...]string{"en", "ja", "pt", "de", "ko"}[l] }

func languageFor(r *random) language {
	switch k := r.below(100); {
	case k < 74:
		return english
	case k < 84:
		return japanese
	case k < 91:
		return portuguese
	case k < 96:
		return german
	}
	return korean
}

// These are the words of the network's posts as they are written inside a JSON string: quotes,
// ampersands, angle brackets and newlines are escaped the way the network's encoders escape them.
// Nothing writes to the tables.
var lexicon = [languageCount][]string{
	english: strings.Fields(`the a and to of in is it that for on was with you this be at have not are as we they but from he she or
		what so if about out can just like there when all one my me your more will do no up get time new people how who know some
		would good now make see then than think day really want been still even because only love here right every need after back
		could work today never first last year week night morning music game art drawing painting coffee rain sun moon river mountain
		bread garden window letter story chapter book reading writing finished started trying learned photo picture camera train
		station city street house kitchen dinner recipe weather winter spring summer autumn cold warm quiet loud strange beautiful
		honest tired happy lovely terrible wonderful actually maybe probably definitely sometimes always thread question answer
		agree support vote hope wish thanks congratulations welcome sorry friend family neighbour cat dog bird fox
		\"quoted\" \"yes\" don't it's we're r\u0026b Q\u0026A \u003c3 -\u003e 100% #art #photography #nowplaying ... — – “well” ‘so’ café naïve
		😂 🔥 💦 ✨ 🐈 🌧️ 👇 ❤️ \n\n \n 2026 42 3:30 :) lol omg`),
	japanese: strings.Fields(`今日 は とても 天気 が いい です 猫 の 写真 を 撮った 待って 観よう と 思って たのに 知らなかった …… よかった 💦 明日 また
		おはよう おやすみ ありがとう 本当に すごい 好き 絵 描いた 新しい 曲 聴いて 電車 雨 桜 夜 朝 ごはん 美味しい 😍 ！ 。 「はい」 \n`),
	portuguese: strings.Fields(`o a os as que não de para com uma um é hoje amanhã você eu meu minha mais muito bom dia gente coisa
		amanhecer coração saudade música café manhã noite até então só já também \"isso\" \n 😂 vocês estão são João feijão`),
	german: strings.Fields(`der die das und ist nicht ich du wir sie mit für über heute morgen schön Straße grüße müde natürlich
		vielleicht weiß größer Bücher Küche Frühstück Zug verspätet wieder \"genau\" \n 🙃 ähnlich Wetter Übung`),
	korean: strings.Fields(`오늘 날씨 정말 좋네요 고양이 사진 그림 그렸어요 이쁘시네용 ~~~ 감사합니다 내일 또 봐요 음악 추천 커피 한잔 😊 ㅋㅋㅋ \n 새로운 책 읽는 중`),
}

// appendText appends n words.
func appendText(b []byte, r *random, l language, n int) []byte {
	words := lexicon[l]
	for i := range n {
		if i > 0 && l != japanese {
			b = append(b, ' ')
		}
		b = append(b, words[r.below(uint64(len(words)))]...)
	}
	return b
}
